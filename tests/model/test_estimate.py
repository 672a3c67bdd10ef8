"""On which days a schedule is due."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

from sbm.model.cron import Cron
from sbm.model.estimate import is_due_on
from sbm.model.time_zones import ZonedCron


def test_a_schedule_with_both_days_is_due_on_days_that_match_both() -> None:
    first_monday = ZonedCron(
        cron=Cron(minute="0", hour="8", day_of_month="1-7", day_of_week="1"),
        time_zone=ZoneInfo("Africa/Johannesburg"),
    )
    days = [day for day in range(1, 31) if is_due_on(first_monday, date(2026, 6, day))]
    assert days == [1]


def test_the_day_is_that_of_the_schedules_own_zone() -> None:
    """Monday, eight o'clock in Auckland, is Sunday evening by UTC."""
    mondays = Cron(minute="0", hour="8", day_of_week="1")
    for zone in ("Pacific/Auckland", "Pacific/Honolulu", "UTC"):
        schedule = ZonedCron(cron=mondays, time_zone=ZoneInfo(zone))
        assert [day for day in range(1, 8) if is_due_on(schedule, date(2026, 6, day))] == [1], zone
