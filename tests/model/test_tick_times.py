"""When schedules should tick, and which are overdue."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve

from sbm.model.durations import TickGrace
from sbm.model.tick_times import CallCron, CallsOfDay, Expectations, ScheduleTimes

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
CLOCK = Expectations(mode="builtin", time_zone=ZoneInfo("UTC"), grace=TickGrace(HOUR))
SCHEDULER = evolve(CLOCK, mode="schedule", time_zone=ZoneInfo("Africa/Johannesburg"))
SCHEDULE = ScheduleTimes(
    schedule_id=1,
    next_tick_at=None,
    last_tick_at=None,
    last_opened_at=None,
    told=None,
    told_at=None,
    now=NOW,
)
# 08:30 in Johannesburg is 06:30 UTC.
TOLD = evolve(SCHEDULE, told="30 8 * * *", told_at=NOW - timedelta(days=2))
MORNING = NOW.replace(hour=6, minute=30)


@pytest.mark.parametrize(
    ("due", "overdue"),
    [(NOW + HOUR, False), (NOW - HOUR, False), (NOW - HOUR - timedelta(seconds=1), True)],
)
def test_the_clock_is_overdue_after_its_grace(due: datetime, overdue: bool) -> None:
    schedule = evolve(SCHEDULE, next_tick_at=due)
    assert schedule.expected(CLOCK) == due
    assert schedule.overdue_since(CLOCK) == (due if overdue else None)


@pytest.mark.parametrize(
    ("opened_at", "overdue_since"),
    [
        (MORNING - timedelta(days=1), MORNING),
        (MORNING - timedelta(minutes=3), MORNING),
        (MORNING - timedelta(minutes=1), None),  # the Scheduler's clock may be ahead
        (MORNING + HOUR, None),
    ],
)
def test_a_call_of_the_scheduler_is_expected_in_its_time_zone(
    opened_at: datetime | None, overdue_since: datetime | None
) -> None:
    schedule = evolve(TOLD, last_opened_at=opened_at)
    assert schedule.overdue_since(SCHEDULER) == overdue_since
    assert schedule.expected(SCHEDULER) == MORNING + timedelta(days=1)


def test_it_is_overdue_since_the_first_moment_that_is_missing() -> None:
    assert TOLD.overdue_since(SCHEDULER) == MORNING - timedelta(days=1)
    told = evolve(TOLD, last_opened_at=MORNING - timedelta(days=1, minutes=1))
    assert told.overdue_since(SCHEDULER) == MORNING


def test_without_a_known_cron_nothing_is_watched() -> None:
    assert TOLD.is_watched(SCHEDULER)
    assert not SCHEDULE.is_watched(SCHEDULER)
    assert SCHEDULE.is_watched(CLOCK)


def test_only_what_the_scheduler_was_told_is_expected() -> None:
    assert evolve(TOLD, told_at=MORNING + HOUR).overdue_since(SCHEDULER) is None
    assert evolve(TOLD, told="nonsense").overdue_since(SCHEDULER) is None
    assert SCHEDULE.overdue_since(SCHEDULER) is None
    assert TOLD.overdue_since(evolve(SCHEDULER, mode="subscription")) is None


def test_within_the_grace_nothing_is_overdue() -> None:
    schedule = evolve(TOLD, last_opened_at=MORNING - timedelta(days=1))
    assert evolve(schedule, now=MORNING + HOUR).overdue_since(SCHEDULER) == MORNING
    just_before = MORNING + HOUR - timedelta(seconds=1)
    assert evolve(schedule, now=just_before).overdue_since(SCHEDULER) is None


@pytest.mark.parametrize(("told", "calls"), [("30 8 * * *", 5), ("0 */6 * * *", 20), ("x", 0)])
def test_the_calls_of_a_day_are_those_of_each_subscription(told: str, calls: int) -> None:
    cron = CallCron(told=told, schedules=5, now=NOW)
    assert 5 * len(list(cron.moments_of_day(SCHEDULER.time_zone))) == calls


@pytest.mark.parametrize(("came", "too_few"), [(0, True), (4, True), (5, False)])
def test_fewer_than_half_are_too_few(came: int, too_few: bool) -> None:
    assert CallsOfDay(expected=10, came=came).are_too_few == too_few
    assert not CallsOfDay(expected=0, came=0).are_too_few
