"""The main job: each subscriber gets the next message of their set, on their schedule, once."""

from __future__ import annotations

from functools import partial

from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.web.server import Request

from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.sandbox.stand_ins.rest import Refused, Response
from tests.e2e.end_to_end import World, mounted


@ensureDeferred
async def test_everybody_gets_every_message_once_in_order_and_then_the_next_set(
    seed: World,
) -> None:
    schedule, weekly = seed.direct.schedule(), seed.direct.schedule(day_of_week="1")
    baby = seed.direct.messageset("baby", weekly)
    pregnancy = seed.direct.messageset("pregnancy", schedule, next_set=baby)
    mothers = seed.subscribe(60, pregnancy, schedule)
    seed.start()
    seed.start()
    for _ in range(3):
        await seed.tick(schedule)
    received = seed.received()
    assert len(received) == len(mothers)
    for texts in received.values():
        assert texts == ["pregnancy 1 eng_ZA", "pregnancy 2 eng_ZA", "pregnancy 3 eng_ZA"]
    chained = seed.direct.rows("SELECT * FROM subscriptions WHERE chained_from IS NOT NULL")
    assert {row["chained_from"] for row in chained} == set(mothers)
    assert {row["messageset_id"] for row in chained} == {baby}
    await seed.tick(weekly)
    assert {texts[-1] for texts in seed.received().values()} == {"baby 1 eng_ZA"}
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_post_back_for_one_subscription_sends_her_next_message(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    one, _other = seed.subscribe(2, messageset, schedule)
    seed.start()
    assert await seed.call("POST", f"/api/v1/subscriptions/{one}/send") == (
        201,
        {"accepted": True},
    )
    await seed.settled()
    (texts,) = seed.received().values()
    assert texts == ["pregnancy 1 eng_ZA"]
    assert seed.direct.subscription(one)["next_sequence_number"] == 2


@ensureDeferred
async def test_each_hears_her_own_language(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, langs=("eng_ZA", "zul_ZA"))
    seed.subscribe(1, messageset, schedule, lang="eng_ZA")
    seed.subscribe(1, messageset, schedule, lang="zul_ZA")
    seed.start()
    await seed.tick(schedule)
    texts = sorted(text for (text,) in seed.received().values())
    assert texts == ["pregnancy 1 eng_ZA", "pregnancy 1 zul_ZA"]


@ensureDeferred
async def test_the_outbound_is_found_again_by_the_key_of_its_send(seed: World) -> None:
    schedule = seed.direct.schedule()
    (mother,) = seed.subscribe(1, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    await seed.tick(schedule)
    (outbound,) = seed.sender.outbounds()
    (entry,) = seed.direct.ledger()
    assert outbound.said.metadata == {
        "sbm_send_id": str(entry["send_id"]),
        "sbm_installation_id": str(seed.direct.value("SELECT id FROM installation")),
        "sbm_subscription_id": str(mother),
        "sbm_messageset_id": entry["messageset_id"],
        "sbm_sequence_number": 1,
        "sbm_lang": "eng_ZA",
    }
    assert entry["outbound_id"] == outbound.id
    assert (entry["subscription_id"], entry["identity"]) == (mother, outbound.said.to_identity)


@ensureDeferred
async def test_who_has_no_address_is_marked_and_nothing_is_sent(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    (reached,) = seed.subscribe(1, messageset, schedule)
    (stranger,) = seed.direct.subscriptions(1, messageset, schedule)
    (silent,) = seed.direct.subscriptions(1, messageset, schedule)
    seed.identities.add(None, seed.direct.subscription(silent)["identity"])
    seed.start()
    await seed.tick(schedule)
    assert list(seed.received()) == [seed.direct.subscription(reached)["identity"]]
    for mother in (stranger, silent):
        assert seed.direct.subscription(mother)["process_status"] == -1
    reasons = {entry["reason"] for entry in seed.direct.ledger() if entry["stage"] == "address"}
    assert reasons == {
        "the Identity Store does not know the identity",
        "the Identity Store has no address for the identity",
    }


@ensureDeferred
async def test_missing_content_is_a_failure_and_the_subscription_stays(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=0)
    (mother,) = seed.subscribe(1, messageset, schedule, next_sequence_number=5)
    seed.start()
    await seed.tick(schedule)
    (entry,) = seed.direct.ledger()
    assert (entry["outcome"], entry["stage"]) == ("failed", "content")
    subscription = seed.direct.subscription(mother)
    assert (subscription["active"], subscription["process_status"]) == (True, 0)


@ensureDeferred
async def test_without_a_scheduler_the_clock_ticks_once_for_two_daemons(seed: World) -> None:
    # Of this minute, and of none that comes before tomorrow.
    now = seed.direct.value("SELECT date_trunc('minute', now() AT TIME ZONE 'UTC')")
    schedule = seed.direct.schedule(minute=str(now.minute), hour=str(now.hour))
    never = seed.direct.schedule(minute=str((now.minute + 30) % 60), hour=str((now.hour + 12) % 24))
    messageset = seed.direct.messageset("pregnancy", schedule)
    mothers = seed.subscribe(20, messageset, schedule)
    seed.subscribe(1, messageset, never)
    for _ in range(2):
        seed.start(SBM_SCHEDULING="builtin")
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) = 2 FROM schedules WHERE next_tick_at > now()")
    )
    # The minute is brought about, not waited for.
    seed.direct.rows(
        "UPDATE schedules SET next_tick_at = %s AT TIME ZONE 'UTC' WHERE id = %s", now, schedule
    )
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM ticks"))
    await seed.settled()
    assert len(seed.sender) == len(mothers)
    assert seed.direct.value("SELECT count(*) FROM ticks WHERE source = 'clock'") == 1


@ensureDeferred
async def test_with_a_scheduler_the_clock_stands_still(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    (mother,) = seed.subscribe(1, messageset, schedule)
    seed.start()
    status, _ = await seed.call("POST", f"/api/v1/subscriptions/{mother}/send")
    assert status == 201
    await seed.settled()
    assert seed.direct.value("SELECT next_tick_rule FROM schedules") is None


@ensureDeferred
async def test_while_a_service_is_away_sends_wait_and_then_go_out_once(seed: World) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(30, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    await seed.until(lambda: seed.direct.value("SELECT beat FROM installation"))
    await seed.message_sender.close()
    status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    assert status == 202
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) FROM sends WHERE attempt > 0 AND state = 'owed'")
    )
    seed.message_sender.open()
    await seed.settled()
    assert len(seed.sender) == len(mothers)
    assert {entry["outcome"] for entry in seed.direct.ledger()} == {"sent"}


@ensureDeferred
async def test_a_daemon_that_stops_loses_nothing_and_another_goes_on(seed: World) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(200, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start(SBM_CONCURRENCY="5")
    status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    assert status == 202
    await seed.until(lambda: len(seed.sender) > 10)
    daemon, _ = seed.daemons.pop()
    await daemon.stopService()
    assert len(seed.sender) < len(mothers)
    assert seed.direct.value("SELECT count(*) FROM sends WHERE state <> 'owed'") == 0
    seed.start()
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == len(mothers)


@ensureDeferred
async def test_the_database_may_go_and_come_back(seed: World) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(100, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start(SBM_CONCURRENCY="5")
    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    for wanted in (10, 40):
        await seed.until(partial(_has_more_than, seed, wanted))
        seed.direct.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == len(mothers)


@frozen(eq=False, kw_only=True)
class OddIdentityStore(IdentityStoreApp):
    """Answers 500 whenever it is asked for one of these."""

    odd: set[str]

    def addresses(self, request: Request, identity: str) -> Response:
        if identity in self.odd:
            raise Refused(500, {"detail": "oops"})
        return super().addresses(request, identity)


@ensureDeferred
async def test_those_whose_address_cannot_be_looked_up_keep_nobody_else(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    mothers = seed.subscribe(300, messageset, schedule)
    odd = {seed.direct.subscription(mother)["identity"] for mother in mothers[:10]}
    seed.identity_store.resource = mounted(
        OddIdentityStore(store=seed.identities, odd=odd).resource()
    )
    await seed.identity_store.close()
    seed.identity_store.open()
    seed.start(SBM_MAX_FAULTS="3", SBM_BACKOFF_MAX_SECONDS="1")
    await seed.call("POST", f"/api/v1/subscriptions/{mothers[0]}/send")
    await seed.tick(schedule)
    assert len(seed.sender) == 290
    assert odd.isdisjoint(seed.received())
    failures = seed.direct.rows("SELECT identity, kind, stage, reason FROM failed_tasks")
    assert {failure["identity"] for failure in failures} == odd
    assert {(failure["kind"], failure["stage"]) for failure in failures} == {("next", "address")}
    assert all("tried 3 times" in failure["reason"] for failure in failures)
    assert seed.direct.value("SELECT max(abs(process_status)) FROM subscriptions") == 0
    assert seed.direct.unbalanced_ticks() == []


def _has_more_than(seed: World, outbounds: int) -> bool:
    return len(seed.sender) > outbounds
