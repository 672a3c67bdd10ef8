"""Whether the ticks come that should come, in each scheduling mode."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from sbm.model.tick_times import CallsOfDay, Expectations
from sbm.store import tick_times
from sbm.store.postgres.transaction import Transaction


@frozen(kw_only=True)
class ScheduleState:
    """When a schedule ticked last, when it should tick next, and since when it is overdue.

    If not ``is_watched``, it is not known when its ticks are due.
    """

    schedule_id: int
    last: datetime | None
    next: datetime | None
    overdue_since: datetime | None
    is_watched: bool


async def list_schedules(transaction: Transaction, by: Expectations) -> Sequence[ScheduleState]:
    """All schedules."""
    found, slices = [], transaction.slices()
    for one in await tick_times.list_schedules(transaction):
        found.append(
            ScheduleState(
                schedule_id=one.schedule_id,
                last=one.last_tick_at,
                next=one.expected(by),
                overdue_since=one.overdue_since(by),
                is_watched=one.is_watched(by),
            )
        )
        if slices.is_over:
            await slices.next_turn()
    return found


async def calls_of_day(transaction: Transaction, by: Expectations) -> CallsOfDay | None:
    """The calls of the last day; None if the Scheduler does not call for subscriptions."""
    if by.mode != "subscription":
        return None
    expected, slices = 0, transaction.slices()
    for cron in await tick_times.list_call_crons(transaction):
        for _ in cron.moments_of_day(by.time_zone):
            expected += cron.schedules
            if slices.is_over:
                await slices.next_turn()
    return CallsOfDay(expected=expected, came=await tick_times.count_triggers_of_day(transaction))
