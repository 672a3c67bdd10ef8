"""When the schedules ticked last, and whether ticks are missing."""

from __future__ import annotations

from sbm.model.tick_times import CallCron, ScheduleTimes, TicksOfDay
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("tick_times")


async def list_schedules(transaction: Transaction) -> list[ScheduleTimes]:
    """All schedules."""
    return await transaction.many(QUERIES.list_schedule_times, ScheduleTimes)


async def count_of_day(transaction: Transaction) -> TicksOfDay:
    """The ticks of schedules in the last day."""
    return await transaction.one(QUERIES.count_ticks_of_day, TicksOfDay)


async def list_call_crons(transaction: Transaction) -> list[CallCron]:
    """The crons with which the Scheduler calls for subscriptions. Reads a row for each of them."""
    return await transaction.many(QUERIES.list_call_crons, CallCron)


async def count_triggers_of_day(transaction: Transaction) -> int:
    """How often a single subscription was triggered in the last day, by a call or by a client."""
    return await transaction.one(QUERIES.count_triggers_of_day, int)
