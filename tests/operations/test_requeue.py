"""Failures that are owed again one by one, by filter, and at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg2
import pytest
from attrs import asdict
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter, Requeued
from sbm.model.paging import PageRequest
from sbm.model.send import Trigger
from sbm.model.signature import Signature
from sbm.operations import requeue
from sbm.store import failed_tasks, sends
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged, arranged

ANN = Signature(actor="ann", reason="they were away")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)
LATER = datetime(2026, 1, 2, tzinfo=timezone.utc)

MANY = 20_000

# A pass over the table takes several hundred.
FEW_BLOCKS = 120


def mothers(direct: Arranged, count: int = 1) -> list[UUID]:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    return direct.subscriptions(count, messageset, schedule, next_sequence_number=2)


async def one_again(database: Database, number: int) -> Trigger:
    return await database.transact(requeue.requeue_one, failed_task_id=number, signature=ANN)


async def all_again(database: Database, wanted: FailedTaskFilter = EVERYTHING) -> Requeued:
    return await database.transact(requeue.requeue_all, wanted=wanted, signature=ANN)


def various(direct: Arranged) -> list[int]:
    """Four failures that differ in everything."""
    one, two, three, four = mothers(direct, 4)
    direct.rows("UPDATE subscriptions SET identity = 'ann' WHERE id = %s", one)
    direct.rows("UPDATE subscriptions SET id = %s WHERE id = %s", UUID(int=2), two)
    return [
        *direct.failures([one], reason="400: No such Channel"),
        *direct.failures(
            [UUID(int=2)], kind="resend", reason="100% of it", initiated_at="2025-12-31Z"
        ),
        *direct.failures([three], stage="content", reason="no_message", initiated_at=str(LATER)),
        *direct.failures([four], stage="trigger", reason="because"),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EVERYTHING, "1234"),
        (FailedTaskFilter(kind="resend"), "2"),
        (FailedTaskFilter(kind="next"), "134"),
        (FailedTaskFilter(stage="content"), "3"),
        (FailedTaskFilter(subscription_id=UUID(int=2)), "2"),
        (FailedTaskFilter(subscription_id=UUID(int=3)), ""),
        (FailedTaskFilter(identity="ann"), "1"),
        (FailedTaskFilter(identity="Ann"), ""),
        (FailedTaskFilter(reason_contains="CHANNEL"), "1"),
        (FailedTaskFilter(reason_contains="%"), "2"),
        (FailedTaskFilter(reason_contains="o_m"), "3"),
        (FailedTaskFilter(reason_contains="\\"), ""),
        (FailedTaskFilter(initiated_after=LATER), "3"),
        (FailedTaskFilter(initiated_before=NEW_YEAR), "124"),
        (FailedTaskFilter(initiated_after=NEW_YEAR, initiated_before=NEW_YEAR), "14"),
        (FailedTaskFilter(kind="next", stage="post", reason_contains="because"), ""),
    ],
)
@ensureDeferred
async def test_those_that_match_are_listed_and_requeued_and_no_others(
    database: Database, direct: Arranged, wanted: FailedTaskFilter, expected: str
) -> None:
    ids = various(direct)
    number = {row_id: str(position) for position, row_id in enumerate(ids, start=1)}
    listed = await database.transact(
        failed_tasks.list_page, page=PageRequest(limit=10), wanted=wanted
    )
    assert "".join(number[one.id] for one in reversed(listed.rows)) == expected
    assert listed.count == len(expected)
    done = await all_again(database, wanted)
    assert (done.taken, done.owed, done.goes_on) == (len(expected), len(expected), False)
    left = {number[row["id"]] for row in direct.rows("SELECT id FROM failed_tasks")}
    assert left == set("1234") - set(expected)
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_one_is_requeued_alone_ahead_of_a_tick(database: Database, direct: Arranged) -> None:
    one, two, three = direct.failures(mothers(direct, 3))
    send_id = direct.value("SELECT send_id FROM failed_tasks WHERE id = %s", two)
    assert await one_again(database, two) == Trigger(found=True, accepted=True)
    (send,) = direct.rows("SELECT id, kind, lane, attempt FROM sends")
    assert send == {"id": send_id, "kind": "next", "lane": "single", "attempt": 1}
    assert [row["id"] for row in direct.rows("SELECT id FROM failed_tasks")] == [one, three]
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_many_are_requeued_behind_single_ones(database: Database, direct: Arranged) -> None:
    direct.failures(mothers(direct, 2))
    await all_again(database)
    assert {row["lane"] for row in direct.rows("SELECT lane FROM sends")} == {"tick"}


@ensureDeferred
async def test_one_that_is_skipped_says_why_as_the_ledger_does(
    database: Database, direct: Arranged
) -> None:
    (number,) = direct.failures(mothers(direct))
    direct.rows("UPDATE subscriptions SET next_sequence_number = 3")
    reason = "the subscription has moved on"
    assert await one_again(database, number) == Trigger(found=True, accepted=False, reason=reason)
    assert [entry["reason"] for entry in direct.ledger()] == [reason]
    assert await one_again(database, number) == Trigger(found=False, accepted=False)
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_failed_resend_is_requeued_beside_a_next_message(
    database: Database, direct: Arranged
) -> None:
    (mother,) = mothers(direct)
    first, second, third = (
        direct.failures([mother], kind=kind)[0] for kind in ("next", "resend", "resend")
    )
    assert (await one_again(database, first)).accepted
    assert (await one_again(database, second)).accepted
    reason = "a resend is already owed to the subscription"
    assert (await one_again(database, third)).reason == reason
    assert direct.value("SELECT count(*) FROM sends") == 2
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_is_not_there_is_not_found_and_opens_no_tick(
    database: Database, direct: Arranged
) -> None:
    assert await one_again(database, 4711) == Trigger(found=False, accepted=False)
    assert direct.value("SELECT count(*) FROM ticks") == 0


@ensureDeferred
async def test_a_long_list_is_left_to_a_task_with_its_filter(
    database: Database, direct: Arranged
) -> None:
    ids = mothers(direct, requeue.AT_ONCE + 3)
    other, *matching = direct.failures(ids)
    direct.rows("UPDATE failed_tasks SET stage = 'content' WHERE id = %s", other)
    wanted = FailedTaskFilter(stage="post", initiated_before=LATER)
    done = await all_again(database, wanted)
    assert (done.taken, done.goes_on) == (requeue.AT_ONCE, True)
    (task,) = direct.rows("SELECT kind, up_to, wanted FROM tasks")
    assert (task["kind"], task["up_to"]) == ("requeue-failed-tasks", matching[-1])
    assert FailedTaskFilter.read(task["wanted"]) == wanted
    left = direct.rows("SELECT id FROM failed_tasks ORDER BY id")
    assert [row["id"] for row in left] == [other, *matching[-2:]]


async def until(condition: Callable[[], Any]) -> None:
    """Let the reactor go on until the condition holds."""
    while not condition():
        await deferLater(reactor, 0.01)


class Changed(Exception):
    """An error that makes a transaction roll back."""


@pytest.mark.parametrize("ends_well", [True, False])
@pytest.mark.parametrize("one_by_one", [True, False])
@ensureDeferred
async def test_of_two_at_the_same_time_one_requeues_each(
    database: Database, direct: Arranged, ends_well: bool, one_by_one: bool
) -> None:
    """The other waits for how that ends: a failure that nobody requeued in the end is not lost."""
    ids = direct.failures(mothers(direct, 3))
    limit = 1 if one_by_one else 2
    requeued: Deferred[None] = Deferred()
    go_on: Deferred[None] = Deferred()

    async def slowly(transaction: Transaction) -> Requeued:
        done = await failed_tasks.requeue(transaction, up_to=ids[-1], limit=limit)
        requeued.callback(None)
        await go_on
        return done

    def waits() -> Any:
        return direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted")

    first = Deferred.fromCoroutine(database.transact(slowly))
    first.addErrback(lambda failure: failure.trap(Changed) and Requeued())
    await requeued
    up_to = ids[0] if one_by_one else ids[-1]
    second = Deferred.fromCoroutine(
        database.transact(failed_tasks.requeue, up_to=up_to, limit=limit)
    )
    await until(lambda: waits() or second.called)
    if ends_well:
        go_on.callback(None)
    else:
        go_on.errback(Changed())
    taken = [(await first).taken, (await second).taken]
    expected = {
        (True, True): [1, 0],
        (True, False): [0, 1],
        (False, True): [2, 1],
        (False, False): [0, 2],
    }
    assert taken == expected[one_by_one, ends_well]
    assert direct.value("SELECT count(*) FROM sends") == sum(taken)
    assert direct.value("SELECT count(*) FROM failed_tasks") == len(ids) - sum(taken)
    assert direct.unbalanced_ticks() == []


@pytest.fixture
def stale(database_uri: str) -> Iterator[Any]:
    """Many failures, of which the statistics know the first few, and many that are gone."""
    with arranged(database_uri) as direct:
        direct.rows("ALTER TABLE failed_tasks SET (autovacuum_enabled = false)")
        direct.rows("ALTER TABLE subscriptions SET (autovacuum_enabled = false)")
        few = mothers(direct, 50)
        direct.failures(few)
        direct.rows("ANALYZE")
        many = direct.subscriptions(MANY, 1, 1, next_sequence_number=2)
        direct.rows("UPDATE subscriptions SET id = %s WHERE id = %s", UUID(int=7), many[-1])
        direct.failures([*many[:-1], UUID(int=7)])
        direct.rows("DELETE FROM failed_tasks WHERE id <= %s", MANY // 2)
    connection = psycopg2.connect(database_uri)
    yield connection
    connection.close()


def chosen(connection: Any, wanted: FailedTaskFilter, after: int) -> tuple[int, int]:
    """How many rows a requeue takes, and how many blocks it read to find and delete them."""
    parameters = {"up_to": 2**31 - 1, "limit": 10, "after": after, "alone": False} | asdict(wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
            + failed_tasks.QUERIES.requeue_failed_tasks.given(parameters),
            parameters,
        )
        plan = cursor.fetchone()[0][0]["Plan"]
    connection.rollback()
    (taken,) = (one for one in plan["Plans"] if one.get("Subplan Name") == "CTE taken")
    return taken["Actual Rows"], taken["Shared Hit Blocks"] + taken["Shared Read Blocks"]


@pytest.mark.parametrize(
    ("wanted", "after", "rows"),
    [
        (EVERYTHING, MANY // 2, 10),
        (FailedTaskFilter(stage="post", reason_contains="CHANNEL"), MANY // 2, 10),
        (FailedTaskFilter(subscription_id=UUID(int=7)), 0, 1),
    ],
)
def test_a_batch_is_found_without_a_pass_over_the_table(
    stale: Any, wanted: FailedTaskFilter, after: int, rows: int
) -> None:
    taken, blocks = chosen(stale, wanted, after)
    assert taken == rows
    assert blocks < FEW_BLOCKS


@ensureDeferred
async def test_what_a_requeue_would_do_is_what_it_does(
    database: Database, direct: Arranged
) -> None:
    """Some subscriptions were deleted, completed, stopped, in error, moved on, or are owed one."""
    ids = mothers(direct, 8)
    direct.failures(ids)
    direct.failures(ids[:1])
    direct.failures(ids[1:2], kind="resend")
    direct.rows("DELETE FROM subscriptions WHERE id = %s", ids[2])
    direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", ids[3])
    direct.rows("UPDATE subscriptions SET process_status = -1 WHERE id = %s", ids[4])
    direct.rows("UPDATE subscriptions SET next_sequence_number = 3 WHERE id = %s", ids[5])
    direct.rows(
        "UPDATE subscriptions SET completed = true, process_status = 2 WHERE id = %s", ids[6]
    )
    await database.transact(sends.owe, subscription_id=ids[7])
    foreseen = await database.read(requeue.foresee)
    before = direct.value("SELECT count(*) FROM ledger")
    done = await all_again(database)
    assert (foreseen.owed, sum(foreseen.skipped.values())) == (done.owed, done.taken - done.owed)
    rows = direct.ledger()[before:]
    assert foreseen.skipped == Counter(row["reason"] for row in rows)
    assert len(foreseen.skipped) == 6


@ensureDeferred
async def test_one_failed_task_is_foreseen(database: Database, direct: Arranged) -> None:
    first, second = direct.failures(mothers(direct, 2))
    for number in (first, second):
        assert (await database.read(requeue.foresee, failed_task_id=number)).owed == 1
    missing = await database.read(requeue.foresee, failed_task_id=second + 1)
    assert (missing.owed, missing.skipped) == (0, {})


@ensureDeferred
async def test_failures_of_one_cause_are_a_group(database: Database, direct: Arranged) -> None:
    """Numbers and ids of people do not make other groups; the filter finds the same ones."""
    ids = mothers(direct, 4)
    direct.failures(ids[:1], reason="answered 400 to +27820001001, bad: abc")
    direct.failures(ids[1:2], reason="answered 400 to +27 (0)82 000-1002, bad: abc")
    direct.failures(ids[2:3], reason=f"answered 400 to {UUID(int=7)}, bad: abc")
    direct.failures(ids[3:], stage="address", reason="answered 404")
    direct.rows(
        "UPDATE failed_tasks SET failed_at = now() - interval '1 day' WHERE subscription_id = %s",
        ids[0],
    )
    groups = await database.read(failed_tasks.list_groups, zone=ZoneInfo("UTC"), limit=10)
    assert [(one.stage, one.cause, one.count) for one in groups] == [
        ("post", "answered 400 to …, bad: abc", 3),
        ("address", "answered 404", 1),
    ]
    assert groups[0].days == (0, 0, 0, 0, 0, 1, 2)
    wanted = FailedTaskFilter(stage="post", cause=groups[0].cause)
    page = await database.read(failed_tasks.list_page, page=PageRequest(limit=10), wanted=wanted)
    assert page.count == 3
    assert (await all_again(database, wanted)).owed == 3
    assert direct.value("SELECT count(*) FROM failed_tasks") == 1


@ensureDeferred
async def test_only_the_newest_failures_are_grouped(database: Database, direct: Arranged) -> None:
    direct.failures(mothers(direct, 5))
    (group,) = await database.read(failed_tasks.list_groups, zone=ZoneInfo("UTC"), limit=10, most=3)
    assert group.count == 3
