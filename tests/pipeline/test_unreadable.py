"""One row that cannot be read ends as failed, and the others go on without it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg2
import pytest
from pytest_twisted import ensureDeferred

from sbm.model.paging import PageRequest
from sbm.model.send import Settled
from sbm.pipeline.sends.claimer import LOOK_SECONDS
from sbm.pipeline.ticks import Expansion
from sbm.store import failed_tasks, sends, ticks, unreadable
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.pipeline import test_ticks
from tests.pipeline.fakes import LEASE, BreakableDatabase
from tests.pipeline.scheduler.test_outbox import Outbox
from tests.pipeline.scheduler.test_outbox import here as here
from tests.pipeline.sends import test_claimer, test_reconciler
from tests.pipeline.tasks.test_requests import asked, worker
from tests.unreadable import BYTES, HUGE_NUMBER, allow_bytes, put, refuse

GOOD = 9

WAYS = ("no text", "no text in metadata", "no text in a prepend", "a rule of the server")


def spoil(direct: Arranged, way: str, subscription: UUID) -> None:
    """Let the message, the set or the send of this subscription be unreadable."""
    messageset = direct.subscription(subscription)["messageset_id"]
    allow_bytes(direct)
    if way == "no text":
        put(direct, "messages", "text_content", BYTES, messageset_id=messageset)
    elif way == "no text in metadata":
        metadata = f"jsonb_build_object('a', {BYTES})"
        put(direct, "messages", "metadata", metadata, messageset_id=messageset)
    elif way == "no text in a prepend":
        prepend = f"jsonb_build_object('prepend_next_delivery', {BYTES})"
        put(direct, "subscriptions", "metadata", prepend, id=subscription)
    else:
        refuse(direct, "sends", subscription)


class Claims(test_claimer.Bench):
    async def owe_all(self) -> UUID:
        """So many that can be read, and in their midst one that is to be spoiled."""
        schedule = self.direct.schedule()
        good = self.direct.messageset("good", schedule)
        bad = self.direct.messageset("bad", schedule)
        self.direct.subscriptions(GOOD, good, schedule)
        (subscription,) = self.direct.subscriptions(1, bad, schedule)
        await self.database.transact(ticks.open_tick, schedule_id=schedule)
        await self.database.transact(ticks.expand, limit=1000)
        return subscription

    def begun_for(self) -> set[UUID]:
        return {held.send.subscription_id for held in self.begun.held}


@pytest.fixture
def claims(database: Database, direct: Arranged) -> Claims:
    return Claims(database, direct)


@pytest.mark.parametrize("way", WAYS)
@ensureDeferred
async def test_a_send_that_cannot_be_read_ends_as_failed_and_the_others_are_claimed(
    claims: Claims, way: str
) -> None:
    bad = await claims.owe_all()
    spoil(claims.direct, way, bad)
    while await claims.claimer.claim():
        pass
    assert len(claims.begun_for()) == GOOD
    assert bad not in claims.begun_for()
    (failed,) = claims.direct.ledger()
    assert (failed["subscription_id"], failed["outcome"], failed["stage"]) == (
        *(bad, "failed", "content"),
    )
    assert failed["reason"].startswith("it cannot be read: ")
    (task,) = claims.direct.rows("SELECT * FROM failed_tasks")
    assert (task["send_id"], task["reason"]) == (failed["send_id"], failed["reason"])
    assert claims.direct.unbalanced_ticks() == []
    assert claims.claimer._telemetry.counts == {"sends.failed": 1}


@ensureDeferred
async def test_what_can_be_read_is_claimed_in_one_transaction(claims: Claims) -> None:
    await claims.claimer.claim()  # the first looks at the clock as well
    await claims.owe_all()
    claims.line.tries = 0
    claims.clock.advance(LOOK_SECONDS)
    assert await claims.claimer.claim() == GOOD + 1
    assert claims.line.tries == 1


@ensureDeferred
async def test_all_sends_of_a_message_that_cannot_be_read_end_as_failed(claims: Claims) -> None:
    bad = await claims.owe_all()
    claims.direct.rows(
        "UPDATE subscriptions SET messageset_id ="
        " (SELECT messageset_id FROM subscriptions WHERE id = %s)",
        bad,
    )
    spoil(claims.direct, "no text", bad)
    assert await claims.claimer.claim() == GOOD + 1
    assert claims.begun.held == []
    assert len(claims.direct.ledger()) == GOOD + 1


@ensureDeferred
async def test_when_it_is_mended_it_can_be_requeued(claims: Claims) -> None:
    bad = await claims.owe_all()
    spoil(claims.direct, "no text", bad)
    while await claims.claimer.claim():
        pass
    claims.let_go(GOOD)
    claims.direct.rows("DELETE FROM sends; UPDATE messages SET text_content = 'mended'")
    last: int = claims.direct.value("SELECT max(id) FROM failed_tasks")
    done = await claims.database.transact(failed_tasks.requeue, up_to=last, limit=10)
    assert (done.taken, done.owed) == (1, 1)
    claims.wakeup.wake()
    assert await claims.claimer.claim() == 1
    assert claims.begun.held[-1].send.subscription_id == bad


@ensureDeferred
async def test_a_send_that_can_neither_be_read_nor_ended_holds_up_no_other(claims: Claims) -> None:
    bad = await claims.owe_all()
    refuse(claims.direct, "sends", bad, when="UPDATE OR DELETE")
    while await claims.claimer.claim():
        pass
    assert len(claims.begun_for()) == GOOD
    assert claims.states() == {"claimed": GOOD, "owed": 1}


@pytest.mark.parametrize(
    ("spoiled", "error"),
    [
        ("ALTER TABLE message_versions RENAME TO elsewhere", psycopg2.ProgrammingError),
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'not today'; END $$; CREATE TRIGGER refuse BEFORE UPDATE ON sends"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
            psycopg2.errors.RaiseException,
        ),
    ],
)
@ensureDeferred
async def test_what_is_wrong_with_all_of_them_is_held_against_none(
    claims: Claims, spoiled: str, error: type[Exception]
) -> None:
    await claims.owe_all()
    claims.direct.rows(spoiled)
    with pytest.raises(error):
        await claims.claimer.claim()
    assert claims.states() == {"owed": GOOD + 1}
    assert claims.direct.ledger() == []


@ensureDeferred
async def test_a_part_that_was_claimed_before_the_database_was_lost_is_given_back(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await claims.owe_all()
    # It comes last, so that others are claimed before it is alone.
    claims.direct.rows(
        "UPDATE sends SET due_at = due_at - interval '1 minute' WHERE subscription_id <> %s", bad
    )
    spoil(claims.direct, "no text", bad)

    async def lose(_: Any, **__: Any) -> bool:
        claims.line.is_cut = True
        return bool(await claims.line.transact(None))

    with monkeypatch.context() as patched:
        patched.setattr(unreadable, "fail_due_send", lose)
        with pytest.raises(Exception, match="cut"):
            await claims.claimer.claim()
    claims.line.is_cut = False
    assert claims.states()["claimed"] > 0
    assert claims.in_flight.held == {}
    while await claims.claimer.claim():
        pass
    assert len(claims.begun_for()) == GOOD


@ensureDeferred
async def test_only_what_is_still_owed_is_failed(claims: Claims) -> None:
    await claims.owe_all()
    await claims.claimer.claim()
    (send, *_) = claims.in_flight.held.values()
    assert not await claims.database.transact(
        unreadable.fail_due_send, send_id=send.send.id, reason="no"
    )
    assert claims.states() == {"claimed": GOOD + 1}


# Unknown outcomes


@pytest.mark.parametrize(
    "spoiled",
    [
        *("0044-03-15 BC", "identity", "rule"),
    ],
)
@ensureDeferred
async def test_a_send_of_unknown_outcome_that_cannot_be_read_is_not_sent_again(
    database: Database, direct: Arranged, spoiled: str
) -> None:
    bench = test_reconciler.Bench(database, direct)
    bad, *good = await bench.unknown(GOOD, late=True)
    if spoiled == "identity":
        allow_bytes(direct)
        put(direct, "sends", "identity", BYTES, id=bad.id)
    elif spoiled == "rule":
        refuse(direct, "sends", bad.subscription_id)
    else:
        put(direct, "sends", "first_attempt_at", f"'{spoiled}'", id=bad.id)
    await bench.reconciler.one_pass()
    states = direct.rows("SELECT id, state FROM sends")
    assert {row["id"]: row["state"] for row in states} == {send.id: "owed" for send in good}
    failures = await database.transact(failed_tasks.list_page, page=PageRequest(limit=10))
    (failed,) = failures.rows
    assert (failed.send_id, failed.stage) == (bad.id, "post")
    assert failed.reason.startswith("it may have been sent; it cannot be read: ")
    assert direct.subscription(bad.subscription_id)["next_sequence_number"] == 2
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_one_that_cannot_be_adopted_holds_up_no_other(
    database: Database, direct: Arranged
) -> None:
    bench = test_reconciler.Bench(database, direct)
    bad, *good = await bench.unknown(3)
    bench.sender.outbounds = {str(send.id): ("1",) for send in (bad, *good)}
    refuse(direct, "ledger", bad.subscription_id, when="INSERT")
    await bench.reconciler.one_pass()
    assert {row["send_id"] for row in direct.ledger()} == {send.id for send in good}
    assert direct.value("SELECT id FROM sends") == bad.id
    assert bench.telemetry.counts["sends.adopted"] == 2


# Ticks


@ensureDeferred
async def test_a_member_that_cannot_be_owed_a_send_ends_as_failed_and_the_others_are_owed(
    database: Database, direct: Arranged
) -> None:
    expanding = test_ticks.Expanding(database, direct)
    await expanding.tick(GOOD)
    bad = direct.value("SELECT id FROM subscriptions ORDER BY id OFFSET 4 LIMIT 1")
    refuse(direct, "sends", bad, when="INSERT")
    for _ in range(30):
        await expanding.expansion.one_pass()
    assert direct.value("SELECT count(*) FROM sends") == GOOD - 1
    assert direct.value("SELECT state FROM ticks") == "expanded"
    assert direct.value("SELECT triggers FROM ticks") == GOOD
    (failed,) = direct.ledger()
    assert (failed["subscription_id"], failed["outcome"]) == (bad, "failed")
    assert "this row is broken" in failed["reason"]
    assert direct.unbalanced_ticks() == []
    direct.rows("DROP TRIGGER refuse_sends ON sends")
    last: int = direct.value("SELECT max(id) FROM failed_tasks")
    done = await database.transact(failed_tasks.requeue, up_to=last, limit=10)
    assert done.owed == 1


@ensureDeferred
async def test_another_tick_has_its_turn_while_one_cannot_go_on(
    database: Database, direct: Arranged
) -> None:
    expanding = test_ticks.Expanding(database, direct)
    await expanding.tick(1)
    bad = direct.value("SELECT id FROM subscriptions")
    await expanding.tick(GOOD)
    refuse(direct, "sends", bad, when="INSERT")
    refuse(direct, "ledger", bad, when="INSERT")
    for _ in range(5):
        try:
            await expanding.expansion.one_pass()
        except psycopg2.Error:
            continue
    assert direct.value("SELECT count(*) FROM sends") == GOOD
    states = direct.rows("SELECT state FROM ticks ORDER BY id")
    assert [row["state"] for row in states] == ["expanding", "expanded"]


@ensureDeferred
async def test_a_member_whose_turn_has_passed_is_not_failed(
    database: Database, direct: Arranged
) -> None:
    expanding = test_ticks.Expanding(database, direct)
    await expanding.tick(2)
    member = await database.transact(unreadable.find_next_member, after=0)
    assert member is not None
    await database.transact(ticks.expand, limit=1)
    await database.transact(unreadable.fail_member, member=member, reason="no")
    assert not await database.transact(unreadable.hold_tick, member=member)
    assert direct.ledger() == []
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_chunk_that_can_be_expanded_takes_one_transaction(
    database: Database, direct: Arranged
) -> None:
    line: Any = BreakableDatabase(database)
    await test_ticks.Expanding(database, direct).tick(GOOD)
    assert await Expansion(database=line, owed=lambda: None).one_pass() == GOOD
    assert line.tries == 1


@pytest.mark.parametrize("moment", ["-infinity", "0044-03-15 BC"])
@ensureDeferred
async def test_a_schedule_whose_next_tick_cannot_be_read_stops_no_other(
    database: Database, direct: Arranged, moment: str
) -> None:
    bench = test_ticks.Bench(database, direct)
    bad, good = direct.schedule(), direct.schedule()
    await bench.clock.one_pass()
    put(direct, "schedules", "next_tick_at", f"'{moment}'", id=bad)
    put(direct, "schedules", "next_tick_at", "date_trunc('minute', now())", id=good)
    await bench.clock.one_pass()
    assert bench.ticks() == [(good, "expanding")]
    assert bench.schedule(bad)["next_tick_at"] is None
    assert await bench.clock.one_pass() == 0
    direct.rows("UPDATE schedules SET minute = '1' WHERE id = %s", bad)
    await bench.clock.one_pass()
    assert bench.schedule(bad)["is_ahead"]


# Calls and tasks


@ensureDeferred
async def test_a_scheduler_call_that_cannot_be_read_is_refused_and_the_others_are_done(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    good = [here.subscribe() for _ in range(3)]
    here.direct.rows(
        "INSERT INTO scheduler_calls (kind, target, due_at)"
        " VALUES ('subscription', 'nonsense', now() - interval '1 hour')"
    )
    doing = here.doing()
    while await doing.one_pass():
        pass
    (refused,) = here.scheduler_calls()
    assert (refused["target"], refused["state"]) == ("nonsense", "refused")
    assert "invalid input syntax for type uuid" in refused["reason"]
    assert all(here.remote_id(one) for one in good)


@ensureDeferred
async def test_a_task_that_cannot_be_read_ends_as_failed_and_holds_up_no_other(
    database: Database, direct: Arranged
) -> None:
    direct.rows(
        "INSERT INTO tasks (kind, requested_at)"
        " VALUES ('requeue-failed-tasks', now() - interval '1 hour')"
    )
    put(direct, "tasks", "wanted", HUGE_NUMBER, kind="requeue-failed-tasks")
    await asked(database, "requeue-failed-tasks", up_to=1)
    doing, _ = worker(database)
    while await doing.one_pass():
        pass
    rows = direct.rows("SELECT state, reason FROM tasks ORDER BY requested_at")
    assert [row["state"] for row in rows] == ["failed", "done"]
    assert rows[0]["reason"].startswith("it cannot be read: ValueError: ")


@ensureDeferred
async def test_the_lease_of_what_is_claimed_in_parts_is_no_longer_than_that_of_the_others(
    claims: Claims,
) -> None:
    spoil(claims.direct, "deep nesting", await claims.owe_all())
    claims.clock.advance(100)
    await claims.claimer.claim()
    assert {held.lease.end for held in claims.begun.held} == {100 + LEASE.total_seconds()}
    sent = Settled(outcome="sent", stage="post", outbound_id="1")
    results = [(held.send, sent) for held in claims.begun.held]
    await claims.database.transact(sends.settle, results=results)
    assert claims.direct.unbalanced_ticks() == []
