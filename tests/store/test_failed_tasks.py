from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.failed_task import Requeued
from sbm.model.paging import PageRequest
from sbm.model.send import Send, Settled
from sbm.store import failed_tasks, resends, sends
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
REFUSED = Settled(outcome="refused", stage="post", reason="400: no such channel")
LACKING = Settled(outcome="failed", stage="content", reason="pregnancy has no message 3")


async def claim(database: Database) -> list[Send]:
    lease = timedelta(seconds=60)
    return await database.transact(sends.claim, owner=uuid4(), limit=10, lease=lease)


async def settle(database: Database, claimed: list[Send], result: Settled) -> set[UUID]:
    results = [(send, result) for send in claimed]
    return (await database.transact(sends.settle, results=results)).sends


async def failed(database: Database, mothers: list[UUID], result: Settled = REFUSED) -> list[Send]:
    """Sends of the next message, that came to a bad end."""
    for mother in mothers:
        await database.transact(sends.owe, subscription_id=mother)
    claimed = await claim(database)
    await settle(database, claimed, result)
    return claimed


async def requeue(database: Database, limit: int = 100) -> int:
    up_to = await database.transact(failed_tasks.newest)
    done = await database.transact(failed_tasks.requeue, up_to=up_to or 0, limit=limit)
    return done.taken


def mothers(direct: Arranged, count: int = 1) -> list[UUID]:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    return direct.subscriptions(count, messageset, schedule, next_sequence_number=2)


@pytest.mark.parametrize("result", [REFUSED, LACKING])
@ensureDeferred
async def test_a_failure_is_put_down_as_it_stood(
    database: Database, direct: Arranged, result: Settled
) -> None:
    (mother,) = mothers(direct)
    (send,) = await failed(database, [mother], result)
    part = await database.transact(failed_tasks.list_page, window=PageRequest(limit=10))
    (found,) = part.rows
    assert part.count == 1
    assert await database.transact(failed_tasks.find, failed_task_id=found.id) == found
    assert (found.send_id, found.subscription_id, found.kind) == (send.id, mother, "next")
    assert (found.stage, found.reason) == (result.stage, result.reason)
    (entry,) = direct.ledger()
    assert found.initiated_at == entry["first_attempt_at"]
    assert direct.subscription(mother)["process_status"] == 0


@pytest.mark.parametrize(
    "result",
    [
        SENT,
        Settled(outcome="skipped", stage="trigger", reason="completed"),
        Settled(outcome="failed", stage="address", reason="no address", is_unaddressed=True),
    ],
)
@ensureDeferred
async def test_other_outcomes_are_no_failures_to_requeue(
    database: Database, direct: Arranged, result: Settled
) -> None:
    await failed(database, mothers(direct), result)
    assert await database.transact(failed_tasks.newest) is None


@ensureDeferred
async def test_a_requeued_send_is_the_same_send_and_its_attempts_go_on(
    database: Database, direct: Arranged
) -> None:
    (mother,) = mothers(direct)
    (first,) = await failed(database, [mother])
    assert await requeue(database) == 1
    assert await database.transact(failed_tasks.newest) is None
    (second,) = await claim(database)
    assert (second.id, second.attempt) == (first.id, first.attempt + 1)
    assert await settle(database, [first], REFUSED) == set()
    assert await settle(database, [second], SENT) == {second.id}
    assert direct.subscription(mother)["next_sequence_number"] == 3
    assert [entry["outcome"] for entry in direct.ledger()] == ["refused", "sent"]
    assert direct.ledger()[0]["first_attempt_at"] == direct.ledger()[1]["first_attempt_at"]
    assert direct.value("SELECT sum(triggers) FROM ticks") == 2
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE subscriptions SET next_sequence_number = 3", "moved on"),
        ("UPDATE subscriptions SET completed = true, process_status = 2", "completed"),
        ("UPDATE subscriptions SET active = false", "not active"),
        ("UPDATE subscriptions SET process_status = -1", "in error"),
        ("DELETE FROM subscriptions", "deleted"),
    ],
)
@ensureDeferred
async def test_whoever_stands_elsewhere_by_now_is_skipped_with_a_reason(
    database: Database, direct: Arranged, change: str, reason: str
) -> None:
    await failed(database, mothers(direct))
    direct.rows(change)
    assert await requeue(database) == 1
    assert await claim(database) == []
    assert await database.transact(failed_tasks.newest) is None
    entry = direct.ledger()[-1]
    assert (entry["outcome"], entry["stage"]) == ("skipped", "trigger")
    assert reason in entry["reason"]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_of_two_failures_of_one_subscription_one_is_owed_again(
    database: Database, direct: Arranged
) -> None:
    (mother,) = mothers(direct)
    await failed(database, [mother])
    await failed(database, [mother])
    assert await requeue(database) == 2
    assert len(await claim(database)) == 1
    assert "already owed" in direct.ledger()[-1]["reason"]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_live_next_keeps_a_failed_one_from_being_owed_again(
    database: Database, direct: Arranged
) -> None:
    (mother,) = mothers(direct)
    (old,) = await failed(database, [mother])
    await database.transact(sends.owe, subscription_id=mother)
    assert await requeue(database) == 1
    (send,) = await claim(database)
    assert send.id != old.id
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_failed_resend_is_resent_and_its_request_answered(
    database: Database, direct: Arranged
) -> None:
    (mother,) = mothers(direct)
    await database.transact(resends.owe, subscription_id=mother)
    (first,) = await claim(database)
    await settle(database, [first], REFUSED)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 3")
    assert await requeue(database) == 1
    (again,) = await claim(database)
    assert (again.id, again.kind) == (first.id, "resend")
    assert again.recipient == first.recipient
    await settle(database, [again], SENT)
    assert direct.subscription(mother)["next_sequence_number"] == 3
    assert direct.value("SELECT outbound_id FROM resend_requests") == "1"
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_requeue_goes_by_batches_oldest_first_up_to_where_it_began(
    database: Database, direct: Arranged
) -> None:
    some = await failed(database, mothers(direct, 5))
    up_to = await database.transact(failed_tasks.newest)
    assert up_to is not None
    first = await database.transact(failed_tasks.requeue, up_to=up_to, limit=3)
    assert (first.taken, first.owed) == (3, 3)
    await settle(database, await claim(database), REFUSED)
    second = await database.transact(
        failed_tasks.requeue, up_to=up_to, limit=3, after=first.last_id
    )
    assert (second.taken, second.last_id) == (2, up_to)
    last = await database.transact(failed_tasks.requeue, up_to=up_to, limit=3)
    assert last == Requeued()
    assert {send.id for send in await claim(database)} < {send.id for send in some}
    part = await database.transact(failed_tasks.list_page, window=PageRequest(limit=10))
    assert part.count == 3
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_nothing_to_requeue_opens_no_tick(database: Database, direct: Arranged) -> None:
    assert await requeue(database) == 0
    assert direct.value("SELECT count(*) FROM ticks") == 0
