"""What an operator asks first: does it run, how far is it, and what is in its way?"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from sbm.model.living_daemon import LivingDaemon
from sbm.model.open_tick import OpenTick
from sbm.model.pause import Pause
from sbm.model.tick_times import ScheduleTimes, TicksOfDay
from sbm.store import daemons, gauges, pauses, status, tick_times
from sbm.store.gauges import LiveSends
from sbm.store.postgres.database import Transaction


@frozen(kw_only=True)
class Status:
    """The state of all daemons of this database, in one moment."""

    queue: Sequence[LiveSends]
    ticks: Sequence[OpenTick]
    of_day: TicksOfDay
    schedules: Sequence[ScheduleTimes]
    pauses: Sequence[Pause]
    daemons: Sequence[LivingDaemon]


async def read(transaction: Transaction) -> Status:
    """Read it; this changes nothing, and takes one pass or two over the live sends."""
    return Status(
        queue=sorted(
            await gauges.measure_sends(transaction), key=lambda one: (one.lane, one.state)
        ),
        ticks=await status.list_open_ticks(transaction),
        of_day=await tick_times.count_of_day(transaction),
        schedules=await tick_times.list_schedules(transaction),
        pauses=await pauses.list_all(transaction),
        daemons=await daemons.list_all(transaction),
    )
