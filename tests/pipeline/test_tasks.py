from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred
from twisted.application.service import Service
from twisted.internet import reactor

from sbm.addresses import DatabaseAddress
from sbm.model.failed_task import EVERYTHING, Wanted
from sbm.model.task import Kind
from sbm.pipeline.loop import Bell
from sbm.pipeline.tasks import REQUEUE_BATCH, Tasks
from sbm.store import tasks
from sbm.store.database import Database
from sbm.store.errors import DatabaseUnavailable
from tests.arrange import Arranged, arranged

ZONE = ZoneInfo("Africa/Johannesburg")


@pytest.fixture
def database(database_uri: str) -> Iterator[Database]:
    database = Database(reactor, DatabaseAddress.parse(database_uri), 5)
    yield database
    database.stopService()


@pytest.fixture
def behind(database_uri: str) -> Iterator[Arranged]:
    with arranged(database_uri) as behind:
        yield behind


def worker(
    database: Database,
    *,
    running: bool = True,
    owed: Callable[[], Any] = lambda: None,
) -> tuple[Tasks, list[str]]:
    """What does the tasks, one pass at a time, and how often it said that sends are owed."""
    said: list[str] = []

    def say() -> None:
        said.append("owed")
        owed()

    made = Tasks(reactor, database, ZONE, uuid4(), say, Bell(reactor))
    if running:
        Service.startService(made)
    return made, said


async def asked(
    database: Database, kind: Kind, up_to: int | None = None, wanted: Wanted = EVERYTHING
) -> None:
    await database.transact(tasks.request, kind=kind, requested_by=None, up_to=up_to, wanted=wanted)


@ensureDeferred
async def test_a_week_is_estimated_from_today_on_in_the_time_zone(
    database: Database, behind: Arranged
) -> None:
    sundays = behind.schedule(minute="0", hour="8", day_of_week="7")
    workdays = behind.schedule(minute="30", hour="0", day_of_week="1-5")
    never = behind.schedule(day_of_month="31", month_of_year="2")
    messageset = behind.messageset("pregnancy", sundays)
    behind.subscriptions(3, messageset, sundays)
    behind.subscriptions(2, messageset, workdays)
    behind.subscriptions(4, messageset, never)
    await asked(database, "estimate-sends")
    assert await worker(database)[0].one_pass() == 1
    rows = behind.rows("SELECT * FROM estimated_sends ORDER BY send_date")
    today = behind.value("SELECT now()").astimezone(ZONE).date()
    assert [row["send_date"] for row in rows] == [today + timedelta(days=day) for day in range(7)]
    expected = {7: 3, 6: 0}
    for row in rows:
        assert row["estimate_subscriptions"] == expected.get(row["send_date"].isoweekday(), 2)
    assert behind.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_those_behind_are_found_by_their_cron_fields(
    database: Database, behind: Arranged
) -> None:
    schedule = behind.schedule(minute="0", hour="8")
    messageset = behind.messageset("pregnancy", schedule, messages=20)
    late, in_time = behind.subscriptions(2, messageset, schedule, next_sequence_number=2)
    behind.rows(
        "UPDATE subscriptions SET created_at = now() - interval '10 days 1 second' WHERE id = %s",
        late,
    )
    behind.rows("UPDATE subscriptions SET created_at = now() WHERE id = %s", in_time)
    await asked(database, "find-behind-subscriptions")
    assert await worker(database)[0].one_pass() == 1
    (row,) = behind.rows("SELECT * FROM behind_subscriptions")
    assert row["subscription_id"] == late
    assert (row["messages_behind"], row["expected_sequence_number"]) in ((9, 11), (10, 12))
    assert behind.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_nobody_is_behind_where_nobody_is_subscribed(
    database: Database, behind: Arranged
) -> None:
    behind.schedule()
    await asked(database, "find-behind-subscriptions")
    await worker(database)[0].one_pass()
    assert behind.value("SELECT state FROM tasks") == "done"


def failures(behind: Arranged, count: int) -> list[int]:
    """So many failures, each of a subscription of its own."""
    schedule = behind.schedule()
    messageset = behind.messageset("pregnancy", schedule)
    return behind.failures(behind.subscriptions(count, messageset, schedule))


def requeued(behind: Arranged, count: int, left: int = 0) -> None:
    """Assert that just so many are owed again, once, and that the law holds."""
    assert behind.value("SELECT count(*) FROM failed_tasks") == left
    assert behind.value("SELECT count(*) FROM sends") == count
    assert behind.value("SELECT count(*) FROM ledger") == 0
    assert behind.value("SELECT sum(triggers) FROM ticks") == count
    assert behind.broken_law() == []


@ensureDeferred
async def test_a_long_list_of_failures_is_requeued_to_its_end(
    database: Database, behind: Arranged
) -> None:
    ids = failures(behind, REQUEUE_BATCH + 1)
    await asked(database, "requeue-failed-tasks", ids[-1])
    doing, owed = worker(database)
    assert await doing.one_pass() == 1
    assert owed == ["owed", "owed"]
    requeued(behind, len(ids))


@ensureDeferred
async def test_of_a_long_list_only_those_are_requeued_that_were_meant(
    database: Database, behind: Arranged
) -> None:
    ids = failures(behind, 2 * REQUEUE_BATCH + 10)
    behind.rows("UPDATE failed_tasks SET stage = 'content' WHERE id = ANY(%s)", ids[::2])
    await asked(database, "requeue-failed-tasks", ids[-1], Wanted(stage="content"))
    doing, owed = worker(database)
    assert await doing.one_pass() == 1
    assert len(owed) == 2
    requeued(behind, len(ids) // 2, left=len(ids) // 2)
    assert behind.value("SELECT count(*) FROM failed_tasks WHERE stage = 'content'") == 0


@ensureDeferred
async def test_a_requeue_whose_daemon_is_lost_between_batches_goes_on_in_another(
    database: Database, behind: Arranged, database_uri: str
) -> None:
    ids = failures(behind, 2 * REQUEUE_BATCH + 10)
    behind.rows("UPDATE failed_tasks SET stage = 'content' WHERE id = %s", ids[0])
    await asked(database, "requeue-failed-tasks", ids[-1], Wanted(stage="post"))
    dying = Database(reactor, DatabaseAddress.parse(database_uri), 1)
    doing, _ = worker(dying, owed=dying.stopService)
    with pytest.raises(DatabaseUnavailable):
        await doing.one_pass()
    requeued(behind, REQUEUE_BATCH, left=REQUEUE_BATCH + 10)
    other, _ = worker(database)
    assert await other.one_pass() == 0
    behind.rows("UPDATE tasks SET lease_until = now() - interval '1 second'")
    assert await other.one_pass() == 1
    requeued(behind, len(ids) - 1, left=1)
    assert behind.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_a_requeue_that_is_stopped_between_batches_goes_on_in_another(
    database: Database, behind: Arranged
) -> None:
    ids = failures(behind, REQUEUE_BATCH + 10)
    await asked(database, "requeue-failed-tasks", ids[-1])
    doing, _ = worker(database, owed=lambda: doing.stopService())
    assert await doing.one_pass() == 0
    requeued(behind, REQUEUE_BATCH, left=10)
    assert await worker(database)[0].one_pass() == 1
    requeued(behind, len(ids))


@ensureDeferred
async def test_a_task_that_is_stopped_in_the_middle_is_left_to_the_next(
    database: Database, behind: Arranged
) -> None:
    behind.schedule()
    await asked(database, "estimate-sends")
    assert await worker(database, running=False)[0].one_pass() == 0
    assert behind.value("SELECT state FROM tasks") == "begun"
    assert await worker(database)[0].one_pass() == 1
    assert behind.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_a_task_that_fails_says_why_and_does_not_come_again(
    database: Database, behind: Arranged
) -> None:
    schedule = behind.schedule()
    behind.subscriptions(1, behind.messageset("pregnancy", schedule), schedule)
    behind.rows("ALTER TABLE estimated_sends ADD CHECK (estimate_subscriptions < 0)")
    await asked(database, "estimate-sends")
    doing, _ = worker(database)
    assert await doing.one_pass() == 1
    (row,) = behind.rows("SELECT state, reason FROM tasks")
    assert row["state"] == "failed"
    assert "CheckViolation" in row["reason"]
    assert await doing.one_pass() == 0
