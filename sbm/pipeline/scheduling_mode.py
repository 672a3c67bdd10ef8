"""Records in the database which part says when to send: the built-in clock or a Scheduler."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.logger import Logger

from sbm.model.scheduler_call import Scheduling
from sbm.model.time_zones import TimeZones
from sbm.store import scheduler_calls, schedules, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

# So many schedules are named in the log.
NAMED = 10


@define(eq=False, slots=False, kw_only=True)
class SchedulingMode:
    """Records how this daemon schedules, and in which time zones, for functions of the database.

    If a Scheduler makes the ticks, this says which schedules have another time zone than it: their
    own does not count.
    """

    _database: Database
    _mode: Scheduling
    _zones: TimeZones = field(default=TimeZones(default=ZoneInfo("UTC")))
    _is_told: bool = field(default=False, init=False)
    _log: Logger = field(factory=Logger)

    async def one_pass(self) -> int:
        """Record it, once."""
        if not self._is_told:
            is_new = await self._database.transact(self._say)
            self._is_told = True
            if is_new:
                self._log.warn(
                    "SBM_SCHEDULING is {mode} now: `sbm scheduler sync` corrects the"
                    " schedules at the Scheduler",
                    mode=self._mode,
                )
            if self._zones.scheduler is not None:
                await self._tell_other_zones(self._zones.scheduler)
        return 0

    async def _tell_other_zones(self, time_zone: ZoneInfo) -> None:
        count, first = await self._database.transact(
            schedules.list_other_zones, time_zone=time_zone, limit=NAMED
        )
        if count:
            self._log.warn(
                "the time zones of {count} schedules do not count, because the Scheduler makes the"
                " ticks and reads all in {time_zone}: schedules {ids}{others}",
                count=count,
                time_zone=time_zone.key,
                ids=", ".join(map(str, first)),
                others=" and others" if count > len(first) else "",
            )

    async def _say(self, transaction: Transaction) -> bool:
        await schedules.set_zones(transaction, zones=self._zones)
        is_new = await scheduler_calls.set_scheduling(transaction, mode=self._mode)
        if is_new:
            await ticks.clear_next_ticks(transaction)
        return is_new
