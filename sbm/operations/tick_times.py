"""Whether the ticks come that should come, in each scheduling mode."""

from __future__ import annotations

from sbm.model.tick_times import CallsOfDay, Expectations
from sbm.store import tick_times
from sbm.store.postgres.database import Transaction


async def calls_of_day(transaction: Transaction, by: Expectations) -> CallsOfDay | None:
    """The calls of the last day; None if the Scheduler does not call for subscriptions."""
    if by.mode != "subscription":
        return None
    expected, slices = 0, transaction.slices()
    for cron in await tick_times.list_call_crons(transaction):
        expected += cron.calls_of_day(by.time_zone)
        if slices.is_over:
            await slices.next_turn()
    return CallsOfDay(expected=expected, came=await tick_times.count_triggers_of_day(transaction))
