"""Estimates of how many will be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sbm.model.cron import Cron, CronError
from sbm.model.estimate import Estimate, days_ahead
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import load

QUERIES = load("estimates")


async def find_crons(transaction: Transaction) -> tuple[datetime | None, dict[int, Cron]]:
    """The database's now, and the schedules that can be read, by id; no time without any."""
    rows = await transaction.rows(QUERIES.find_cron_fields)
    read = {row["id"]: _cron(row) for row in rows}
    crons = {schedule_id: cron for schedule_id, cron in read.items() if cron is not None}
    return (rows[0]["now"] if rows else None), crons


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
    now = await transaction.row(QUERIES.find_now)
    assert now is not None
    days = days_ahead(now["now"], zone)
    rows = await transaction.rows(QUERIES.sum_estimates, days=days)
    found = {row["send_date"]: row["subscriptions"] for row in rows}
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
    count = await transaction.row(QUERIES.count_estimates, **filters)
    rows = await transaction.rows(QUERIES.list_estimates, limit=limit, offset=offset, **filters)
    assert count is not None
    return count["count"], [Estimate(**row) for row in rows]


def _cron(row: Row) -> Cron | None:
    fields = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    try:
        return Cron(**{name: row[name] for name in fields})
    except CronError:
        return None
