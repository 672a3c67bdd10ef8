"""Makes the partitions of months, and deletes data that is no longer kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.store import (
    clock,
    console_sessions,
    idempotency,
    partitions,
    scheduler_callbacks,
    simulations,
    ticks,
    watched_ticks,
)
from sbm.store.partitions import Partitioned
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

MONTHS_AHEAD = 2
TICKS_PER_PASS = 10_000
ANSWERS_PER_PASS = 10_000
CALLBACKS_PER_PASS = 10_000


@define(eq=False, slots=False, kw_only=True)
class Housekeeping:
    """Makes the partitions of months ahead of time, and drops those that are no longer kept.

    The ledger, its deliveries and its ticks are kept for ``ledger_months``, the audit for
    ``audit_months``, and the intake account for ``intake_months``. For a day after the database's
    clock has jumped, nothing is deleted: if the clock is wrong by months, the ledger would be
    deleted. Operators notice such a clock within a day.
    """

    _database: Database
    _ledger_months: int
    _audit_months: int
    _intake_months: int
    _clock: DatabaseClock = field(factory=DatabaseClock)
    _log: Logger = field(factory=Logger)

    async def one_pass(self) -> int:
        """Bring the partitions up to date; returns how many old ticks and answers were deleted."""
        if not await self._clock.transact(self._database, self._keep_partitions):
            self._log.warn(
                "the database's clock has jumped within the last day: nothing is deleted as too old"
            )
            return 0
        old_ticks = await self._clock.transact(self._database, self._delete_ticks)
        old_answers = await self._clock.transact(self._database, self._delete_answers)
        return old_ticks + old_answers

    async def _keep_partitions(self, transaction: Transaction, reading: ClockReading) -> bool:
        """Whether old things may be deleted."""
        if not reading.is_doubted:
            for parent in self._months_kept:
                await partitions.make(transaction, parent=parent, months_ahead=MONTHS_AHEAD)
        if reading.is_calm:
            for parent, months_kept in self._months_kept.items():
                await partitions.drop(transaction, parent=parent, months_kept=months_kept)
        return reading.is_calm

    @property
    def _months_kept(self) -> Mapping[Partitioned, int]:
        return {
            "ledger": self._ledger_months,
            "deliveries": self._ledger_months,
            "audit": self._audit_months,
            "intake": self._intake_months,
        }

    async def _delete_ticks(self, transaction: Transaction, reading: ClockReading) -> int:
        if not reading.is_calm:
            return 0
        await watched_ticks.forget_old(transaction)
        return await ticks.delete_old(
            transaction, months_kept=self._ledger_months, limit=TICKS_PER_PASS
        )

    async def _delete_answers(self, transaction: Transaction, reading: ClockReading) -> int:
        if not reading.is_calm:
            return 0
        await clock.delete_old(transaction)
        await simulations.forget_old(transaction)
        await console_sessions.delete_ended(transaction)
        return await idempotency.delete_old(transaction, limit=ANSWERS_PER_PASS)


@define(eq=False, slots=False, kw_only=True)
class CallbackHousekeeping:
    """Deletes the recorded calls of the Scheduler that can no longer be repeated.

    Calls that were recorded while the database's clock was ahead are deleted, too: else they might
    later be mistaken for the calls of moments that have not come yet. So there is a pass each
    minute. Just after that clock has jumped, nothing is deleted: the clock of the daemon may have
    jumped with it.
    """

    _database: Database
    _kept: timedelta
    _clock: DatabaseClock = field(factory=DatabaseClock)

    async def one_pass(self) -> int:
        """Delete calls that are old, or later than now; returns how many were deleted."""
        return await self._clock.transact(self._database, self._delete)

    async def _delete(self, transaction: Transaction, reading: ClockReading) -> int:
        if not reading.is_settled:
            return 0
        kept, limit = self._kept, CALLBACKS_PER_PASS
        future = await scheduler_callbacks.delete_future(transaction, kept=kept, limit=limit)
        return future + await scheduler_callbacks.delete_old(transaction, kept=kept, limit=limit)
