"""What the Metrics API is told of the sends to come."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sbm.model.metrics import of_week
from sbm.store import estimates, tasks
from sbm.store.postgres.database import Transaction


async def read_scheduled(
    transaction: Transaction, *, zone: ZoneInfo, requested_by: int | None
) -> dict[str, float]:
    """The values by name, as far as they are known.

    Estimates that are not of today are asked for; the task tells what it has estimated.
    """
    today, week = await estimates.read_week(transaction, zone=zone)
    if week is None:
        await tasks.request(transaction, kind="estimate-sends", requested_by=requested_by)
    return of_week(week or {}, today)
