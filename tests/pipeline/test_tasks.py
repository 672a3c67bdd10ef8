from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred
from twisted.application.service import Service
from twisted.internet import reactor

from sbm.addresses import DatabaseAddress
from sbm.model.task import Kind
from sbm.pipeline.loop import Bell
from sbm.pipeline.tasks import REQUEUE_BATCH, Tasks
from sbm.store import tasks
from sbm.store.database import Database
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


def worker(database: Database, *, running: bool = True) -> tuple[Tasks, list[str]]:
    """What does the tasks, one pass at a time, and how often it said that sends are owed."""
    owed: list[str] = []
    made = Tasks(reactor, database, ZONE, uuid4(), lambda: owed.append("owed"), Bell(reactor))
    if running:
        Service.startService(made)
    return made, owed


async def asked(database: Database, kind: Kind, up_to: int | None = None) -> None:
    await database.transact(tasks.request, kind=kind, requested_by=None, up_to=up_to)


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


@ensureDeferred
async def test_a_long_list_of_failures_is_requeued_to_its_end(
    database: Database, behind: Arranged
) -> None:
    schedule = behind.schedule()
    count = REQUEUE_BATCH + 1
    behind.subscriptions(count, behind.messageset("pregnancy", schedule), schedule)
    behind.rows(
        "INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,"
        " initiated_at, attempt, messageset_id, next_sequence_number)"
        " SELECT gen_random_uuid(), 'next', 'post', 'no', id, identity, now(), 1, messageset_id, 1"
        " FROM subscriptions"
    )
    await asked(database, "requeue-failed-tasks", behind.value("SELECT max(id) FROM failed_tasks"))
    doing, owed = worker(database)
    assert await doing.one_pass() == 1
    assert behind.value("SELECT count(*) FROM failed_tasks") == 0
    assert behind.value("SELECT count(*) FROM sends") == count
    assert owed == ["owed", "owed"]
    assert behind.broken_law() == []


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
