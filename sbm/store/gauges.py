"""What stands in the database now, in numbers."""

from __future__ import annotations

from attrs import frozen

from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("gauges")


@frozen(kw_only=True)
class LiveSends:
    """The live sends of one state and lane: how many, and how long the oldest has been so.

    ``owed_seconds`` run from when a send was first owed; ``unknown_seconds`` from when its outcome
    became unknown, None where it is not.
    """

    state: str
    lane: str
    count: int
    owed_seconds: float
    unknown_seconds: float | None


async def measure_sends(transaction: Transaction) -> list[LiveSends]:
    """The live sends by state and lane; there is none of those that are not in the answer."""
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
    """How many outbounds are known beside those that the ledger names."""
    return await transaction.one(QUERIES.count_doubles, int)
