"""Ticks: somebody says "now" for a schedule, and its subscribers are owed a send."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import Cron, CronError
from sbm.store.database import Row, Transaction
from sbm.store.queries import load

QUERIES = load("ticks")


@frozen(kw_only=True)
class Unwound:
    """A schedule whose next tick by the built-in clock has to be worked out.

    ``cron`` is None where its fields cannot be read. ``now`` is the database's clock.
    ``due_since`` is the first tick that may be due, or None when it was never worked out, or by a
    rule that no longer holds.
    """

    schedule_id: int
    cron: Cron | None
    now: datetime
    due_since: datetime | None


async def open_tick(transaction: Transaction, *, schedule_id: int) -> int | None:
    """Open a tick for a whole schedule, now; returns its id, or None: no such schedule."""
    row = await transaction.row(QUERIES.open_tick, schedule_id=schedule_id)
    return None if row is None else int(row["id"])


async def expand(transaction: Transaction, *, limit: int) -> int | None:
    """Owe their sends to the next members of the oldest open tick, at most ``limit`` of them.

    Returns how many there were, or None when no tick is open.
    """
    await transaction.execute(QUERIES.read_in_order)
    row = await transaction.row(QUERIES.expand_tick, limit=limit)
    return None if row is None else int(row["triggers"])


async def find_unwound(
    transaction: Transaction, *, time_zone: ZoneInfo, limit: int
) -> list[Unwound]:
    """Lock and return up to ``limit`` schedules for which the built-in clock has work."""
    rows = await transaction.rows(
        QUERIES.find_schedules_to_wind, time_zone=time_zone.key, limit=limit
    )
    return [
        Unwound(
            schedule_id=row["id"],
            cron=_cron(row),
            now=row["now"],
            due_since=row["next_tick_at"] if row["is_wound"] else None,
        )
        for row in rows
    ]


async def wind(
    transaction: Transaction,
    *,
    schedule_id: int,
    time_zone: ZoneInfo,
    next_tick_at: datetime | None,
) -> None:
    """Remember when the built-in clock ticks next for a schedule; None: never."""
    await transaction.execute(
        QUERIES.wind_schedule,
        schedule_id=schedule_id,
        time_zone=time_zone.key,
        next_tick_at=next_tick_at,
    )


async def open_clock_tick(
    transaction: Transaction, *, schedule_id: int, due_at: datetime, missed: bool
) -> bool:
    """Open the tick of this moment, or record it as missed; False when it exists already."""
    row = await transaction.row(
        QUERIES.open_clock_tick, schedule_id=schedule_id, due_at=due_at, missed=missed
    )
    return row is not None


async def delete_old(transaction: Transaction, *, months_kept: int, limit: int) -> int:
    """Delete up to ``limit`` ticks of months that the ledger no longer keeps; returns how many."""
    return await transaction.execute(QUERIES.delete_old_ticks, months_kept=months_kept, limit=limit)


def _cron(row: Row) -> Cron | None:
    fields = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
    try:
        return Cron(**{name: row[name] for name in fields})
    except CronError:
        return None
