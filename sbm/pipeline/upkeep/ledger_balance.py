"""Checks the ledger balance, and measures the live sends, the scheduler calls and the doubles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from attrs import define, evolve, field
from twisted.logger import Logger

from sbm.model.hold import HOLDS
from sbm.model.ledger_balance import TickBalance, TickToCheck, batches
from sbm.pipeline.database_clock import DatabaseClock
from sbm.store import gauges, ledger_balance
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

# Less than a minute: a pass that comes a little early must still find its ticks.
REST = timedelta(seconds=55)

# How many ticks a pass checks. It limits the cost of a pass.
TICKS_PER_PASS = 2000

# Half a million rows in the ledger and as many live sends are counted in half a second if they are
# in memory. A statement may take twenty seconds.
TRIGGERS_PER_STATEMENT = 500_000

# How many ticks a pass names in the log, however many are unbalanced.
NAMED_PER_PASS = 20

_STATES = ("owed", "claimed", "unknown")
_LANES = ("single", "tick")


@define(eq=False, slots=False, kw_only=True)
class LedgerBalance:
    """Measures the live sends at every pass, and checks the balance of the ticks that are next.

    Several daemons share the ticks by locking rows, and report the same number of unbalanced ones.
    """

    _database: Database
    _telemetry: Telemetry
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock)

    def __attrs_post_init__(self) -> None:
        self._unbalanced = 0
        self._asked_at = 0.0

    async def one_pass(self) -> int:
        """Measure and check; there is always a rest before the next pass."""
        await self._measure()
        taken = await self._database.transact(ledger_balance.take, rest=REST, limit=TICKS_PER_PASS)
        failures: list[tuple[TickToCheck, DatabaseUnavailable]] = []
        for batch in batches(taken, most=TRIGGERS_PER_STATEMENT):
            try:
                self._asked_at = self._clock.uptime()
                found = await self._database.transact(self._check, batch)
            except DatabaseUnavailable as error:
                failures.append((batch[0], error))
            else:
                self._tell(batch, found)
        await self._sum_up(is_complete=not failures)
        # The database answers before and after: there was too much to count for one statement.
        for tick, failure in failures:
            self._log.error(
                "the balance of tick {id} and others could not be checked: {error}",
                id=tick.id,
                error=failure,
            )
        return 0

    async def _measure(self) -> None:
        measured = await self._database.transact(gauges.measure_sends)
        counts: Counter[tuple[str, str]] = Counter()
        held: Counter[tuple[str, str]] = Counter()
        for one in measured:
            counts[one.state, one.lane] += one.count
            if one.hold is not None:
                held[one.hold, one.lane] += one.count
        for lane in _LANES:
            for state in _STATES:
                self._telemetry.gauge("sends.live", counts[state, lane], state=state, lane=lane)
            for hold in HOLDS:
                self._telemetry.gauge("sends.held", held[hold, lane], reason=hold, lane=lane)
        owed = (one.owed_seconds for one in measured if one.state == "owed" and not one.hold)
        self._telemetry.gauge("sends.oldest_owed_seconds", max(owed, default=0.0))
        unknown = (one.unknown_seconds or 0.0 for one in measured)
        # It may be negative: the time is the end of a lease, which can be in the future.
        oldest_unknown = max(0.0, max(unknown, default=0.0))
        self._telemetry.gauge("sends.oldest_unknown_seconds", oldest_unknown)
        scheduler_calls = await self._database.transact(gauges.measure_scheduler_calls)
        self._telemetry.gauge("scheduler_calls.owed", scheduler_calls.owed)
        self._telemetry.gauge(
            "scheduler_calls.oldest_owed_seconds", scheduler_calls.owed_seconds or 0.0
        )
        self._telemetry.gauge("scheduler_calls.refused", scheduler_calls.refused)
        doubles = await self._database.transact(gauges.count_doubles)
        self._telemetry.gauge("doubles", doubles)

    async def _check(
        self, transaction: Transaction, batch: Sequence[TickToCheck]
    ) -> list[TickBalance]:
        reading = await self._clock.compare(transaction, asked_at=self._asked_at)
        found = await ledger_balance.count(transaction, ids=[tick.id for tick in batch])
        if reading.is_doubted:
            # The minute may not be over. A tick that is marked as closed is not checked again.
            found = [evolve(one, is_closed=False) for one in found]
        await ledger_balance.record(transaction, found=found)
        return found

    def _tell(self, batch: Sequence[TickToCheck], found: Sequence[TickBalance]) -> None:
        """Log the changes: ticks that became unbalanced, more unbalanced, or balanced again."""
        for one in found:
            if one.is_done:
                self._log.info("done: {tick}", tick=one.summary)
        before = {tick.id: tick.missing for tick in batch}
        news = [one for one in found if one.is_kept and one.missing != before[one.tick_id]]
        for one in news[:NAMED_PER_PASS]:
            if one.is_unbalanced:
                self._log.error("unbalanced: {balance}", balance=one)
            else:
                self._log.info("balanced again: {balance}", balance=one)
        if len(news) > NAMED_PER_PASS:
            self._log.error(
                "{count} more ticks are unbalanced now, or balanced again",
                count=len(news) - NAMED_PER_PASS,
            )

    async def _sum_up(self, *, is_complete: bool) -> None:
        unbalanced, now = await self._database.transact(ledger_balance.count_unbalanced)
        self._telemetry.gauge("ledger.unbalanced_ticks", unbalanced)
        if is_complete:
            self._telemetry.gauge("ledger.checked_at", now.timestamp())
        if unbalanced and unbalanced != self._unbalanced:
            self._log.error(
                "{count} ticks are unbalanced: `sbm check ledger` names them", count=unbalanced
            )
        elif self._unbalanced and not unbalanced:
            self._log.info("every tick is balanced again")
        self._unbalanced = unbalanced
