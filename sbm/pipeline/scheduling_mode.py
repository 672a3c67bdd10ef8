"""Records in the database which part says when to send: the built-in clock or a Scheduler."""

from __future__ import annotations

from attrs import define, field
from twisted.logger import Logger

from sbm.model.scheduler_call import Scheduling
from sbm.store import scheduler_calls, ticks
from sbm.store.postgres.database import Database, Transaction


@define(eq=False, slots=False, kw_only=True)
class SchedulingMode:
    """Records how this daemon schedules, for database sessions that are not a daemon's."""

    _database: Database
    _mode: Scheduling
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
        return 0

    async def _say(self, transaction: Transaction) -> bool:
        is_new = await scheduler_calls.set_scheduling(transaction, mode=self._mode)
        if is_new:
            await ticks.clear_next_ticks(transaction)
        return is_new
