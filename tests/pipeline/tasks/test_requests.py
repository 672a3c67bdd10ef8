from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred
from twisted.application.service import Service
from twisted.internet import reactor

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter
from sbm.model.task import TaskKind
from sbm.model.time_zones import TimeZones
from sbm.pipeline.tasks.requests import REQUEUE_BATCH, TaskRequests
from sbm.runtime.wakeups import Wakeup
from sbm.settings.endpoints import DatabaseAddress
from sbm.store import tasks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from tests.arrange import Arranged

ZONE = ZoneInfo("Africa/Johannesburg")


def worker(
    database: Database,
    *,
    running: bool = True,
    zones: TimeZones = TimeZones(default=ZONE),  # noqa: B008
    owed: Callable[[], Any] = lambda: None,
) -> tuple[TaskRequests, list[str]]:
    """The object that does the tasks, and how often it has said that sends are owed."""
    said: list[str] = []

    def say() -> None:
        said.append("owed")
        owed()

    made = TaskRequests(
        reactor=reactor,
        database=database,
        time_zones=zones,
        owner=uuid4(),
        owed=say,
        wakeup=Wakeup(reactor=reactor),
    )
    if running:
        Service.startService(made)
    return made, said


async def asked(
    database: Database,
    kind: TaskKind,
    up_to: int | None = None,
    wanted: FailedTaskFilter = EVERYTHING,
) -> None:
    await database.transact(tasks.request, kind=kind, requested_by=None, up_to=up_to, wanted=wanted)


@ensureDeferred
async def test_a_week_is_estimated_from_today_on_in_the_time_zone(
    database: Database, direct: Arranged
) -> None:
    sundays = direct.schedule(minute="0", hour="8", day_of_week="7")
    workdays = direct.schedule(minute="30", hour="0", day_of_week="1-5")
    never = direct.schedule(day_of_month="31", month_of_year="2")
    messageset = direct.messageset("pregnancy", sundays)
    direct.subscriptions(3, messageset, sundays)
    direct.subscriptions(2, messageset, workdays)
    direct.subscriptions(4, messageset, never)
    await asked(database, "estimate-sends")
    assert await worker(database)[0].one_pass() == 1
    rows = direct.rows("SELECT * FROM estimated_sends ORDER BY send_date")
    today = direct.value("SELECT now()").astimezone(ZONE).date()
    assert [row["send_date"] for row in rows] == [today + timedelta(days=day) for day in range(7)]
    expected = {7: 3, 6: 0}
    for row in rows:
        assert row["estimate_subscriptions"] == expected.get(row["send_date"].isoweekday(), 2)
    assert direct.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_those_behind_are_found_by_their_cron_fields(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule(minute="0", hour="8")
    messageset = direct.messageset("pregnancy", schedule, messages=20)
    late, in_time = direct.subscriptions(2, messageset, schedule, next_sequence_number=2)
    direct.rows(
        "UPDATE subscriptions SET created_at = now() - interval '10 days 1 second' WHERE id = %s",
        late,
    )
    direct.rows("UPDATE subscriptions SET created_at = now() WHERE id = %s", in_time)
    await asked(database, "find-behind-subscriptions")
    assert await worker(database)[0].one_pass() == 1
    (row,) = direct.rows("SELECT * FROM behind_subscriptions")
    assert row["subscription_id"] == late
    assert (row["messages_behind"], row["expected_sequence_number"]) in ((9, 11), (10, 12))
    assert direct.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_nobody_is_behind_where_nobody_is_subscribed(
    database: Database, direct: Arranged
) -> None:
    direct.schedule()
    await asked(database, "find-behind-subscriptions")
    await worker(database)[0].one_pass()
    assert direct.value("SELECT state FROM tasks") == "done"


def failures(direct: Arranged, count: int) -> list[int]:
    """So many failures, each of a subscription of its own."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    return direct.failures(direct.subscriptions(count, messageset, schedule))


def requeued(direct: Arranged, count: int, left: int = 0) -> None:
    """Assert that just so many are owed again, once, and that every tick is balanced."""
    assert direct.value("SELECT count(*) FROM failed_tasks") == left
    assert direct.value("SELECT count(*) FROM sends") == count
    assert direct.value("SELECT count(*) FROM ledger") == 0
    assert direct.value("SELECT sum(triggers) FROM ticks") == count
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_long_list_of_failures_is_requeued_to_its_end(
    database: Database, direct: Arranged
) -> None:
    ids = failures(direct, REQUEUE_BATCH + 1)
    await asked(database, "requeue-failed-tasks", ids[-1])
    doing, owed = worker(database)
    assert await doing.one_pass() == 1
    assert owed == ["owed", "owed"]
    requeued(direct, len(ids))


@ensureDeferred
async def test_of_a_long_list_only_those_are_requeued_that_were_meant(
    database: Database, direct: Arranged
) -> None:
    ids = failures(direct, 2 * REQUEUE_BATCH + 10)
    direct.rows("UPDATE failed_tasks SET stage = 'content' WHERE id = ANY(%s)", ids[::2])
    await asked(database, "requeue-failed-tasks", ids[-1], FailedTaskFilter(stage="content"))
    doing, owed = worker(database)
    assert await doing.one_pass() == 1
    assert len(owed) == 2
    requeued(direct, len(ids) // 2, left=len(ids) // 2)
    assert direct.value("SELECT count(*) FROM failed_tasks WHERE stage = 'content'") == 0


@ensureDeferred
async def test_a_requeue_whose_daemon_is_lost_between_batches_goes_on_in_another(
    database: Database, direct: Arranged, database_uri: str
) -> None:
    ids = failures(direct, 2 * REQUEUE_BATCH + 10)
    direct.rows("UPDATE failed_tasks SET stage = 'content' WHERE id = %s", ids[0])
    await asked(database, "requeue-failed-tasks", ids[-1], FailedTaskFilter(stage="post"))
    dying = Database(reactor=reactor, address=DatabaseAddress.parse(database_uri), size=1)
    doing, _ = worker(dying, owed=dying.stopService)
    with pytest.raises(DatabaseUnavailable):
        await doing.one_pass()
    requeued(direct, REQUEUE_BATCH, left=REQUEUE_BATCH + 10)
    other, _ = worker(database)
    assert await other.one_pass() == 0
    direct.rows("UPDATE tasks SET lease_until = now() - interval '1 second'")
    assert await other.one_pass() == 1
    requeued(direct, len(ids) - 1, left=1)
    assert direct.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_a_requeue_that_is_stopped_between_batches_goes_on_in_another(
    database: Database, direct: Arranged
) -> None:
    ids = failures(direct, REQUEUE_BATCH + 10)
    await asked(database, "requeue-failed-tasks", ids[-1])
    doing, _ = worker(database, owed=lambda: doing.stopService())
    assert await doing.one_pass() == 0
    requeued(direct, REQUEUE_BATCH, left=10)
    assert await worker(database)[0].one_pass() == 1
    requeued(direct, len(ids))


@ensureDeferred
async def test_a_task_that_is_stopped_in_the_middle_is_left_to_the_next(
    database: Database, direct: Arranged
) -> None:
    direct.schedule()
    await asked(database, "estimate-sends")
    assert await worker(database, running=False)[0].one_pass() == 0
    assert direct.value("SELECT state FROM tasks") == "begun"
    assert await worker(database)[0].one_pass() == 1
    assert direct.value("SELECT state FROM tasks") == "done"


@ensureDeferred
async def test_a_task_that_fails_says_why_and_does_not_come_again(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    direct.rows("ALTER TABLE estimated_sends ADD CHECK (estimate_subscriptions < 0)")
    await asked(database, "estimate-sends")
    doing, _ = worker(database)
    assert await doing.one_pass() == 1
    (row,) = direct.rows("SELECT state, reason FROM tasks")
    assert row["state"] == "failed"
    assert "CheckViolation" in row["reason"]
    assert await doing.one_pass() == 0


@ensureDeferred
async def test_an_estimate_has_the_day_of_the_zone_of_each_schedule(
    database: Database, direct: Arranged
) -> None:
    """Sunday, one o'clock in Auckland, is Saturday by UTC."""
    sundays = {"minute": "0", "hour": "1", "day_of_week": "7"}
    default = direct.schedule(**sundays)
    auckland = direct.schedule(time_zone="Pacific/Auckland", **sundays)
    messageset = direct.messageset("pregnancy", default)
    direct.subscriptions(3, messageset, default)
    direct.subscriptions(2, messageset, auckland)
    await asked(database, "estimate-sends")
    utc = TimeZones(default=ZoneInfo("UTC"))
    assert await worker(database, zones=utc)[0].one_pass() == 1
    rows = direct.rows("SELECT * FROM estimated_sends")
    found = {row["send_date"].isoweekday(): row["estimate_subscriptions"] for row in rows}
    assert found == {**dict.fromkeys(range(1, 7), 0), 7: 5}


@ensureDeferred
async def test_those_behind_are_found_by_the_zone_of_their_schedule(
    database: Database, direct: Arranged
) -> None:
    """In the zone of one schedule, its moment was ten minutes ago; that of the other is to come."""
    now = direct.value("SELECT now()").astimezone(ZoneInfo("Asia/Tokyo")) - timedelta(minutes=10)
    fields = {"minute": str(now.minute), "hour": str(now.hour)}
    tokyo, default = direct.schedule(time_zone="Asia/Tokyo", **fields), direct.schedule(**fields)
    messageset = direct.messageset("pregnancy", default, messages=20)
    (late,), (in_time,) = (
        direct.subscriptions(1, messageset, schedule) for schedule in (tokyo, default)
    )
    direct.rows("UPDATE subscriptions SET created_at = now() - interval '1 hour'")
    await asked(database, "find-behind-subscriptions")
    assert await worker(database)[0].one_pass() == 1
    rows = direct.rows("SELECT subscription_id FROM behind_subscriptions")
    assert [row["subscription_id"] for row in rows] == [late], in_time


@ensureDeferred
async def test_a_search_finds_those_whom_no_tick_reaches(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule(minute="0", hour="8")
    messageset = direct.messageset("pregnancy", schedule)
    direct.subscriptions(1, messageset, schedule)
    (silent,) = direct.subscriptions(1, messageset, schedule, lang="xho_ZA")
    await asked(database, "find-silent-subscriptions")
    assert await worker(database)[0].one_pass() == 1
    rows = direct.rows("SELECT subscription_id, cause FROM silent_subscriptions")
    assert rows == [{"subscription_id": silent, "cause": "language"}]
    assert direct.value("SELECT state FROM tasks") == "done"
