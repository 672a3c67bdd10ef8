"""The rates of schedules, and of all together: daemons reserve the moments of their messages."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("paces")


@frozen(kw_only=True)
class Moments:
    """Reserved moments: the first, the seconds between two, and how many.

    ``now`` and ``first_at`` are in seconds of the database's clock.
    """

    now: float
    first_at: float
    spacing: float
    count: int


async def reserve(
    transaction: Transaction,
    *,
    schedule_id: int,
    schedule_rate: int | None,
    overall_rate: int | None,
    wanted: int,
    soonest: timedelta,
    ahead: timedelta,
) -> Moments:
    """Reserve up to ``wanted`` moments for messages of a schedule, from ``soonest`` to ``ahead``.

    The rates are messages a second, over all daemons; at least one of them is not None. The
    schedule 0 stands for all schedules without a rate of their own.
    """
    return await transaction.one(
        QUERIES.reserve_moments,
        Moments,
        schedule_id=schedule_id,
        schedule_rate=schedule_rate,
        overall_rate=overall_rate,
        wanted=wanted,
        soonest=soonest,
        ahead=ahead,
    )
