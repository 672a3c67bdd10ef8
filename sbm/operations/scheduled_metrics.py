"""The values about future sends that the Metrics API gets."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from sbm.model.metrics import of_week
from sbm.store import estimates, tasks
from sbm.store.postgres.transaction import Transaction


async def read_scheduled(
    transaction: Transaction, *, zone: ZoneInfo, requested_by: int | None
) -> dict[str, float]:
    """The values by name, as far as they are known.

    If the estimates are not of today, this asks for a task that makes them; the task then sends
    them to the Metrics API.
    """
    today, week = await estimates.read_week(transaction, zone=zone)
    if week is None:
        await tasks.request(transaction, kind="estimate-sends", requested_by=requested_by)
    return of_week(week or {}, today)
