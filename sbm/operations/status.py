"""What an operator asks first: does it run, how far is it, and what is in its way?"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from sbm.model.living_daemon import LivingDaemon
from sbm.model.open_tick import OpenTick
from sbm.model.pause import Pause
from sbm.model.send_pause import SendPause
from sbm.model.tick_times import Expectations, TicksOfDay
from sbm.operations.tick_times import ScheduleState, list_schedules
from sbm.store import daemons, gauges, pauses, send_pauses, status, tick_times
from sbm.store.gauges import LiveSends
from sbm.store.postgres.transaction import Transaction


@frozen(kw_only=True)
class Status:
    """The state of all daemons of this database, in one moment."""

    queue: Sequence[LiveSends]
    ticks: Sequence[OpenTick]
    of_day: TicksOfDay
    schedules: Sequence[ScheduleState]
    pauses: Sequence[Pause]
    send_pauses: Sequence[SendPause]
    daemons: Sequence[LivingDaemon]

    @property
    def is_sending(self) -> bool:
        """Whether a daemon sends."""
        return any(one.is_sending for one in self.daemons)


async def read(transaction: Transaction, by: Expectations) -> Status:
    """Read it; this changes nothing, and takes one pass or two over the live sends."""
    return Status(
        queue=sorted(
            await gauges.measure_sends(transaction),
            key=lambda one: (one.lane, one.state, one.hold or ""),
        ),
        ticks=await status.list_open_ticks(transaction),
        of_day=await tick_times.count_of_day(transaction),
        schedules=await list_schedules(transaction, by),
        pauses=await pauses.list_all(transaction),
        send_pauses=await send_pauses.list_open(transaction),
        daemons=await daemons.list_all(transaction),
    )
