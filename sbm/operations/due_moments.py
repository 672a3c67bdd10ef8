"""The moments of a cron that passed without a tick."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sbm.model.cron import Cron
from sbm.store.postgres.transaction import Transaction

# After weeks without a daemon, not every missed minute is recorded.
MOST_MISSED = 100

_SECOND = timedelta(seconds=1)


async def latest_first(
    transaction: Transaction, cron: Cron, *, after: datetime, until: datetime, time_zone: ZoneInfo
) -> list[datetime]:
    """The due moments later than ``after``, the latest first: one, and MOST_MISSED others."""
    moments: list[datetime] = []
    slices = transaction.slices()
    while len(moments) <= MOST_MISSED:
        moment = cron.latest_between(after, until, time_zone)
        if moment is None:
            break
        moments.append(moment)
        until = moment - _SECOND
        if slices.is_over:
            await slices.next_turn()
    return moments
