"""What has to be done now and then for the ledger, and for what is kept for a while only."""

from __future__ import annotations

from datetime import timedelta

from attrs import define

from sbm.store import idempotency, ledger, scheduler_callbacks, ticks
from sbm.store.database import Database, Transaction

MONTHS_AHEAD = 2
TICKS_PER_PASS = 10_000
ANSWERS_PER_PASS = 10_000
CALLBACKS_PER_PASS = 10_000


@define(eq=False, slots=False)
class Housekeeping:
    """Makes the ledger's partitions ahead of time, and drops what is no longer kept."""

    _database: Database
    _months_kept: int

    async def one_pass(self) -> int:
        """Bring the partitions up to date; returns how many old ticks and answers were deleted."""
        await self._database.transact(self._keep_ledger)
        old_ticks = await self._database.transact(
            ticks.delete_old, months_kept=self._months_kept, limit=TICKS_PER_PASS
        )
        old_answers = await self._database.transact(idempotency.delete_old, limit=ANSWERS_PER_PASS)
        return old_ticks + old_answers

    async def _keep_ledger(self, transaction: Transaction) -> None:
        await ledger.make_partitions(transaction, months_ahead=MONTHS_AHEAD)
        await ledger.drop_partitions(transaction, months_kept=self._months_kept)


@define(eq=False, slots=False, kw_only=True)
class CallbackHousekeeping:
    """Deletes the recorded calls of the Scheduler that no repetition can come of.

    Those that the database's clock recorded while it was wrong are among them: a pass a minute
    keeps them from being taken for the calls of moments that have not come yet.
    """

    _database: Database
    _kept: timedelta

    async def one_pass(self) -> int:
        """Delete what is old, or later than now; returns how many calls were deleted."""
        future = await self._database.transact(
            scheduler_callbacks.delete_future, limit=CALLBACKS_PER_PASS
        )
        old = await self._database.transact(
            scheduler_callbacks.delete_old, kept=self._kept, limit=CALLBACKS_PER_PASS
        )
        return future + old
