"""Numbers of live sends, scheduler calls and doubles in the database now."""

from __future__ import annotations

from attrs import frozen

from sbm.model.hold import HoldReason
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("gauges")


@frozen(kw_only=True)
class LiveSends:
    """The live sends of one state and lane, and one hold: how many, and the age of the oldest.

    ``owed_seconds`` count from the moment when a send was first owed; ``unknown_seconds`` from the
    moment when its outcome became unknown, None if it is known. ``hold`` says why owed sends are
    held back, None if they are not.
    """

    state: str
    lane: str
    hold: HoldReason | None
    count: int
    owed_seconds: float
    unknown_seconds: float | None


async def measure_sends(transaction: Transaction) -> list[LiveSends]:
    """The live sends by state, lane and hold; what there is none of is not in the answer."""
    return await transaction.many(QUERIES.measure_sends, LiveSends)


@frozen(kw_only=True)
class OwedSchedulerCalls:
    """How many calls the Scheduler is owed, for how long the oldest, and how many it refused."""

    owed: int
    refused: int
    owed_seconds: float | None


async def measure_scheduler_calls(transaction: Transaction) -> OwedSchedulerCalls:
    """The calls to the Scheduler."""
    return await transaction.one(QUERIES.measure_scheduler_calls, OwedSchedulerCalls)


async def count_doubles(transaction: Transaction) -> int:
    """How many outbounds are known besides those that the ledger names."""
    return await transaction.one(QUERIES.count_doubles, int)
