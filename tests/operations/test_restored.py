"""A restored database is repaired from the outbounds that the Message Sender has."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from sbm.clients.links import PageLimits
from sbm.model.outbound import OwnOutbound
from sbm.model.send import Settled
from sbm.model.signature import Signature
from sbm.model.time_zones import TimeZones
from sbm.operations.restored import (
    NothingToGoBackTo,
    NotRepaired,
    Restoration,
    RestoredCount,
    repair,
    resume,
)
from sbm.store import installation, pauses, scheduler_calls, sends, ticks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

NOW = datetime.now(timezone.utc)
WANTED = Restoration(
    since=NOW - timedelta(hours=1),
    lease=timedelta(seconds=60),
    zones=TimeZones(default=ZoneInfo("UTC")),
    is_new_installation=False,
    is_dry=False,
    signature=Signature(actor="ann", reason="the disk was lost"),
)


class Bench:
    """A person with a subscription to a set of two messages, which another set follows."""

    def __init__(self, database: Database, direct: Arranged) -> None:
        self.database = database
        self.direct = direct
        self.schedule = direct.schedule()
        self.baby = direct.messageset("baby", self.schedule, messages=2)
        self.pregnancy = direct.messageset(
            "pregnancy", self.schedule, messages=2, next_set=self.baby
        )
        (self.subscription,) = direct.subscriptions(1, self.pregnancy, self.schedule)
        self.identity: str = direct.value("SELECT identity FROM subscriptions")
        self.listed: list[OwnOutbound] = []

    def sent(self, number: int, *, send_id: UUID | None = None, **difference: Any) -> None:
        """The Message Sender has this message, the latest of all."""
        outbound = OwnOutbound(
            id=f"outbound-{len(self.listed)}",
            created_at=NOW + timedelta(seconds=len(self.listed)),
            identity=self.identity,
            kind="next",
            send_id=send_id or uuid4(),
            installation_id=self.direct.value("SELECT id FROM installation"),
            subscription_id=self.subscription,
            messageset_id=self.pregnancy,
            sequence_number=number,
            lang="eng_ZA",
        )
        self.listed.append(evolve(outbound, **difference))

    async def pages(
        self, *, after: datetime, limits: PageLimits, most: int | None = None
    ) -> AsyncGenerator[list[OwnOutbound], None]:
        yield [one for one in reversed(self.listed) if one.created_at > after][:most]

    async def repair(self, **difference: Any) -> RestoredCount:
        sender: Any = self
        return await repair(self.database, sender, wanted=evolve(WANTED, **difference))

    def places(self) -> list[tuple[int, int, bool]]:
        return [
            (row["messageset_id"], row["next_sequence_number"], row["completed"])
            for row in self.direct.rows("SELECT * FROM subscriptions ORDER BY created_at")
        ]

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(one["outcome"], one["outbound_id"]) for one in self.direct.ledger()]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_a_subscription_goes_on_as_far_as_it_was_sent_to(bench: Bench) -> None:
    bench.sent(1)
    assert (await bench.repair()).adopted == 1
    assert bench.places() == [(bench.pregnancy, 2, False)]
    assert bench.outcomes() == [("adopted", "outbound-0")]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_it_goes_on_through_the_next_set_though_that_subscription_was_lost(
    bench: Bench,
) -> None:
    bench.sent(1)
    bench.sent(2)
    bench.sent(1, messageset_id=bench.baby, subscription_id=uuid4())
    count = await bench.repair()
    assert (count.adopted, count.left) == (3, 0)
    assert bench.places() == [(bench.pregnancy, 2, True), (bench.baby, 2, False)]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_it_can_be_done_again(bench: Bench) -> None:
    bench.sent(1)
    bench.sent(1, messageset_id=bench.baby, subscription_id=uuid4())
    await bench.repair()
    places, outcomes = bench.places(), bench.outcomes()
    assert (await bench.repair()).adopted == 0
    assert (bench.places(), bench.outcomes()) == (places, outcomes)


@ensureDeferred
async def test_a_dry_run_changes_nothing(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    count = await bench.repair(is_dry=True)
    assert (count.doubted, count.outbounds, count.adopted) == (1, 1, 1)
    assert bench.outcomes() == []
    assert bench.direct.value("SELECT state FROM sends") == "owed"
    assert bench.direct.value("SELECT count(*) FROM pauses") == 0


@ensureDeferred
async def test_what_is_owed_is_asked_about_with_the_place_of_its_subscription(
    bench: Bench,
) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    assert (await bench.repair()).doubted == 1
    (send,) = bench.direct.rows("SELECT * FROM sends")
    assert (send["state"], send["messageset_id"], send["sequence_number"]) == (
        "unknown",
        bench.pregnancy,
        1,
    )
    assert bench.direct.value("SELECT unknown_since > now() + interval '50 s' FROM sends")
    assert bench.direct.value("SELECT kind FROM pauses WHERE ended_at IS NULL") == "restored"
    assert bench.direct.value("SELECT action FROM audit") == "restored"


@ensureDeferred
async def test_a_send_of_the_dump_is_settled_with_its_own_outbound(bench: Bench) -> None:
    owed = await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    assert owed.accepted
    bench.sent(1, send_id=bench.direct.value("SELECT id FROM sends"))
    bench.sent(2)
    assert (await bench.repair()).adopted == 2
    assert bench.places()[0] == (bench.pregnancy, 2, True)
    assert bench.direct.value("SELECT count(*) FROM sends") == 0
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_send_of_the_dump_is_skipped_if_a_later_one_was_sent(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    count = await bench.repair()
    assert (count.adopted, count.superseded, count.left) == (1, 1, 0)
    assert sorted(outcome for outcome, _ in bench.outcomes()) == ["adopted", "skipped"]
    assert bench.places() == [(bench.pregnancy, 2, False)]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_outbounds_of_another_installation_are_passed_over(bench: Bench) -> None:
    bench.sent(1, installation_id=uuid4())
    assert (await bench.repair()).outbounds == 0
    assert bench.places() == [(bench.pregnancy, 1, False)]


@ensureDeferred
async def test_without_a_time_nothing_can_be_compared(bench: Bench) -> None:
    with pytest.raises(NothingToGoBackTo):
        await bench.repair(since=None)


@ensureDeferred
async def test_a_resume_needs_a_repair_that_came_to_its_end(bench: Bench) -> None:
    signature = Signature(actor="ann", reason="")
    await bench.database.transact(pauses.pause_restored, reason="it went back")
    with pytest.raises(NotRepaired):
        await bench.database.transact(resume, signature=signature)
    await bench.repair()
    await bench.database.transact(pauses.pause_restored, reason="it went back again")
    with pytest.raises(NotRepaired):
        await bench.database.transact(resume, signature=signature)
    await bench.repair()
    assert len(await bench.database.transact(resume, signature=signature)) == 1
    await bench.database.transact(pauses.pause_restored, reason="it went back")
    ended = await bench.database.transact(resume, signature=signature, without_repair=True)
    assert len(ended) == 1


@ensureDeferred
async def test_messages_step_in_the_order_of_their_outbounds(bench: Bench) -> None:
    """A later tick may be open in the dump, or again, with a send that stands at a wrong place."""
    bench.pregnancy = bench.direct.messageset("long", bench.schedule, messages=4)
    (bench.subscription,) = bench.direct.subscriptions(1, bench.pregnancy, bench.schedule)
    bench.identity = bench.direct.value(
        "SELECT identity FROM subscriptions WHERE id = %s", bench.subscription
    )
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    bench.sent(2, send_id=bench.direct.value("SELECT id FROM sends"))
    count = await bench.repair()
    assert (count.adopted, count.left) == (2, 0)
    assert (bench.pregnancy, 3, False) in bench.places()
    numbers = bench.direct.rows("SELECT sequence_number FROM ledger ORDER BY sequence_number")
    assert [row["sequence_number"] for row in numbers] == [1, 2]
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_live_send_of_the_dump_gets_the_number_that_was_sent(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(2, send_id=bench.direct.value("SELECT id FROM sends"))
    assert (await bench.repair()).adopted == 1
    (_, _, is_completed), _ = bench.places()
    assert is_completed
    assert bench.direct.value("SELECT sequence_number FROM ledger") == 2


@ensureDeferred
async def test_a_live_send_of_the_subscription_that_takes_its_place_makes_room(
    bench: Bench,
) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1, subscription_id=uuid4())
    count = await bench.repair()
    assert (count.adopted, count.superseded, count.left) == (1, 1, 0)
    assert bench.places() == [(bench.pregnancy, 2, False)]
    assert bench.direct.unbalanced_ticks() == []


@pytest.mark.parametrize("seconds", [-1, 1])
@ensureDeferred
async def test_a_failed_send_that_was_sent_again_is_adopted(bench: Bench, seconds: int) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    claimed = await bench.database.transact(
        sends.claim, owner=uuid4(), limit=1, lease=timedelta(seconds=60)
    )
    failed = Settled(outcome="failed", stage="post", reason="500")
    await bench.database.transact(sends.settle, results=[(one, failed) for one in claimed])
    settled_at = bench.direct.value("SELECT settled_at FROM ledger")
    bench.sent(1, send_id=claimed[0].id, created_at=settled_at + timedelta(seconds=seconds))
    is_sent_again = seconds > 0
    assert (await bench.repair()).adopted == is_sent_again
    assert bench.places() == [(bench.pregnancy, 1 + is_sent_again, False)]
    assert bench.direct.value("SELECT count(*) FROM failed_tasks") == (not is_sent_again)
    assert bench.direct.unbalanced_ticks() == []


@pytest.mark.parametrize("is_in_dump", [True, False])
@ensureDeferred
async def test_a_prepend_that_was_sent_is_deleted(bench: Bench, is_in_dump: bool) -> None:
    bench.direct.rows(
        """UPDATE subscriptions SET metadata = '{"prepend_next_delivery": "Hello"}' RETURNING 1"""
    )
    send_id = None
    if is_in_dump:
        await bench.database.transact(sends.owe, subscription_id=bench.subscription)
        send_id = bench.direct.value("SELECT id FROM sends")
    bench.sent(1, send_id=send_id)
    assert (await bench.repair()).adopted == 1
    metadata = bench.direct.value("SELECT metadata FROM subscriptions")
    assert metadata == {"prepend_next_delivery": None}


@ensureDeferred
async def test_all_former_installations_are_accepted(bench: Bench) -> None:
    """As on a staging system, which had an id of its own before the copy of production."""
    former, production = uuid4(), bench.direct.value("SELECT id FROM installation")
    await bench.database.transact(pauses.pause_restored, reason="it went back", formerly=former)
    await bench.repair(is_new_installation=True)
    await bench.database.transact(resume, signature=Signature(actor="ann", reason=""))
    accepted = await bench.database.transact(pauses.read_accepted)
    assert {former, production} <= set(accepted.formerly)


@ensureDeferred
async def test_without_a_list_only_what_is_live_is_asked_about(bench: Bench) -> None:
    await bench.database.transact(sends.owe, subscription_id=bench.subscription)
    bench.sent(1)
    count = await bench.repair(without_list=True)
    assert (count.doubted, count.outbounds, count.adopted) == (1, 0, 0)


@ensureDeferred
async def test_a_pause_keeps_the_time_at_which_the_daemons_last_worked(bench: Bench) -> None:
    mark = await bench.database.transact(installation.advance)
    assert mark is not None
    await bench.database.transact(pauses.pause_restored, reason="it went back")
    assert await bench.database.transact(installation.advance) is None
    bench.direct.rows("UPDATE installation SET seen_at = now() RETURNING 1")
    assert await bench.database.transact(installation.find_time_of_dump) == mark.seen_at


@ensureDeferred
async def test_ticks_that_came_due_since_the_dump_were_missed_in_the_zone_of_each_schedule(
    bench: Bench,
) -> None:
    """It waited for the moment an hour ago in Tokyo; by UTC, that moment is hours away."""
    await bench.database.transact(scheduler_calls.set_scheduling, mode="builtin")
    moment = NOW.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    tokyo = bench.direct.schedule(
        minute="0", hour=str(moment.astimezone(ZoneInfo("Asia/Tokyo")).hour), time_zone="Asia/Tokyo"
    )
    await bench.database.transact(
        ticks.set_next_tick,
        schedule_id=tokyo,
        default_time_zone=WANTED.zones.default,
        next_tick_at=moment,
    )
    assert (await bench.repair(is_dry=True)).missed == 1
    assert (await bench.repair()).missed == 1
    (row,) = bench.direct.rows("SELECT * FROM ticks WHERE state = 'missed'")
    assert (row["schedule_id"], row["due_at"]) == (tokyo, moment)
    following = bench.direct.value("SELECT next_tick_at FROM schedules WHERE id = %s", tokyo)
    assert following == moment + timedelta(days=1)


@ensureDeferred
async def test_an_outbound_of_the_future_is_no_excuse_for_all_until_then(bench: Bench) -> None:
    now, day, hour = bench.direct.value("SELECT now()"), timedelta(days=1), timedelta(hours=1)
    for told, until in ((None, None), (now - day, now - day), (now + 9 * day, now + hour)):
        bench.direct.rows("DELETE FROM pauses")
        await bench.database.transact(
            pauses.pause_restored, reason="it went back", outbounds_until=told
        )
        kept = bench.direct.value("SELECT outbounds_until FROM pauses")
        assert kept == until if until is None else abs(kept - until) < timedelta(minutes=5)
