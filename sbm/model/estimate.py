"""Estimates of how many subscriptions will get a message on a day."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.time_zones import ZonedCron

DAYS = 7


@frozen(kw_only=True)
class Estimate:
    """How many subscriptions and identities of a message set will get a message on a day.

    The day of each subscription is that of the time zone of its schedule.
    """

    id: int
    send_date: date
    messageset_id: int
    estimate_subscriptions: int
    estimate_identities: int


def days_ahead(now: datetime, zone: ZoneInfo) -> list[date]:
    """Today in the time zone, and the days after it: each day of the week once."""
    today = now.astimezone(zone).date()
    return [today + timedelta(days=days) for days in range(DAYS)]


def is_due_on(schedule: ZonedCron, day: date) -> bool:
    """Whether a schedule is due at least once on this day of its time zone."""
    cron, zone = schedule.cron, schedule.time_zone
    midnight = datetime.combine(day, time(), zone)
    following = datetime.combine(day + timedelta(days=1), time(), zone)
    due = cron.next_after(midnight - timedelta(seconds=1), zone)
    return due is not None and due < following
