"""Estimates of how many subscriptions and identities will be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import Cron
from sbm.model.estimate import Estimate, days_ahead
from sbm.model.time_zones import TimeZones, ZonedCron
from sbm.store import clock
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("estimates")


@frozen(kw_only=True)
class _CronRow:
    """A schedule; ``cron`` is None if its fields cannot be read."""

    schedule_id: int
    cron: Cron | None
    time_zone: str | None
    now: datetime


async def find_crons(
    transaction: Transaction, *, zones: TimeZones
) -> tuple[datetime | None, dict[int, ZonedCron]]:
    """The database's now, and the readable schedules by id; now is None if there are none.

    A schedule is not readable, either, if this machine does not know its time zone.
    """
    rows = await transaction.many(QUERIES.find_cron_fields, _cron_row)
    crons = {}
    for row in rows:
        cron, time_zone = row.cron, zones.of(row.time_zone)
        if cron is not None and time_zone is not None:
            crons[row.schedule_id] = ZonedCron(cron=cron, time_zone=time_zone)
    return (rows[0].now if rows else None), crons


async def estimate(transaction: Transaction, *, send_date: date, schedules: Iterable[int]) -> None:
    """Store the estimate of a day, on which these schedules are due, for every message set."""
    await transaction.execute(
        QUERIES.estimate_sends, send_date=send_date, schedules=list(schedules)
    )


async def read_week(
    transaction: Transaction, *, zone: ZoneInfo
) -> tuple[date, dict[date, int] | None]:
    """Today, and how many subscriptions are sent to on each of the seven days from today on.

    None if not all these days were estimated: the estimates that exist may be days old.
    """
    days = days_ahead(await clock.now(transaction), zone)
    found = await sum_days(transaction, days=days)
    return days[0], found if len(found) == len(days) else None


async def sum_days(transaction: Transaction, *, days: Iterable[date]) -> dict[date, int]:
    """How many subscriptions are sent to on each of these days, as far as that was estimated."""
    return dict(await transaction.many(QUERIES.sum_estimates, _day, days=list(days)))


async def list_page(
    transaction: Transaction,
    *,
    limit: int,
    offset: int,
    send_date: date | None = None,
    messageset_id: int | None = None,
) -> tuple[int, list[Estimate]]:
    """How many match the filters (None: no filter), and one page of them, by day."""
    filters = {"send_date": send_date, "messageset_id": messageset_id}
    count = await transaction.one(QUERIES.count_estimates, int, **filters)
    return count, await transaction.many(
        QUERIES.list_estimates, Estimate, limit=limit, offset=offset, **filters
    )


def _cron_row(*, schedule_id: int, time_zone: str | None, now: datetime, **fields: str) -> _CronRow:
    return _CronRow(schedule_id=schedule_id, cron=Cron.read(**fields), time_zone=time_zone, now=now)


def _day(*, send_date: date, subscriptions: int) -> tuple[date, int]:
    return send_date, subscriptions
