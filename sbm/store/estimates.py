"""Estimates of how many will be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sbm.model.cron import Cron
from sbm.model.estimate import Estimate, days_ahead
from sbm.store import clock
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("estimates")


async def find_crons(transaction: Transaction) -> tuple[datetime | None, dict[int, Cron]]:
    """The database's now, and the schedules that can be read, by id; no time without any."""
    schedules = await transaction.many(QUERIES.find_cron_fields, _schedule)
    crons = {schedule_id: cron for _, schedule_id, cron in schedules if cron is not None}
    return (schedules[0][0] if schedules else None), crons


async def estimate(transaction: Transaction, *, send_date: date, schedules: Iterable[int]) -> None:
    """Write down the estimate of a day, on which these schedules are due, for every message set."""
    await transaction.execute(
        QUERIES.estimate_sends, send_date=send_date, schedules=list(schedules)
    )


async def read_week(
    transaction: Transaction, *, zone: ZoneInfo
) -> tuple[date, dict[date, int] | None]:
    """Today, and how many subscriptions are sent to on each day of the week that begins with it.

    None: the days have not all been estimated, so that what there is may be days old.
    """
    days = days_ahead(await clock.now(transaction), zone)
    found = dict(await transaction.many(QUERIES.sum_estimates, _day, days=days))
    return days[0], found if len(found) == len(days) else None


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


def _schedule(
    *, schedule_id: int, now: datetime, **fields: str
) -> tuple[datetime, int, Cron | None]:
    return now, schedule_id, Cron.read(**fields)


def _day(*, send_date: date, subscriptions: int) -> tuple[date, int]:
    return send_date, subscriptions
