"""Settles results in the database: in batches, each result exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.model.durations import StopGrace
from sbm.model.send import GivenBack, Send, SendResult
from sbm.pipeline.dividing import divided
from sbm.pipeline.sends.committed_results import count_metrics, report_doubles
from sbm.pipeline.sends.in_flight import InFlight
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup
from sbm.store import locks, sends
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import RowLocked, may_be_of_a_row, one_line
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

BATCH = 200
RETRY_SECONDS = 1.0

# How long results wait for others, while sends are in flight whose results may come. A statement
# costs much the same for one result and for many.
LINGER_SECONDS = 0.1

# How long the parts of a batch that could not be settled wait for a lock; and how long a result
# that cannot be settled even alone is left.
PATIENCE = timedelta(milliseconds=100)
APART_SECONDS = 10.0

SendAndResult = tuple[Send, SendResult]

# A function that is called with each result that is committed.
Listener = Callable[[Send, SendResult], None]


@define(eq=False, slots=False, kw_only=True)
class Completer(Service):
    """Keeps every result until it is committed; while the database is away, results wait here.

    If another transaction has locked the subscription of a result, the result waits, too, and does
    not delay the others. ``listeners`` are called with each result that is committed, in order.
    ``claims`` is the wake-up of the claimer: after each batch there is room to claim again.
    Stopping settles the results that are left, for at most ``grace``.
    """

    _reactor: Any
    _database: Database
    _in_flight: InFlight
    _telemetry: Telemetry
    _listeners: Sequence[Listener]
    _claims: Wakeup
    _grace: StopGrace
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._results: dict[tuple[uuid.UUID, int], SendAndResult] = {}
        self._apart: dict[tuple[uuid.UUID, int], float] = {}
        self._linger: Any = None
        self._has_lingered = False
        self._loop = Loop(
            reactor=self._reactor,
            name="settle",
            one_pass=self._one_pass,
            rest=RETRY_SECONDS,
        )

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        while self._results and self._reactor.seconds() < give_up_at:
            self._loop.wakeup.wake()
            await self._in_flight.emptied.wait(RETRY_SECONDS)
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped

    def add(self, send: Send, result: SendResult) -> None:
        """Add a result, which is settled soon."""
        self._results[send.id, send.attempt] = (send, result)
        if self._is_worth_it():
            self._loop.wakeup.wake()
        else:
            self._wait_for_others()

    def _wait_for_others(self) -> None:
        """Wake the loop a little later, when more results may have come."""
        if self._linger is None:
            self._linger = self._reactor.callLater(LINGER_SECONDS, self._end_the_wait)

    def _end_the_wait(self) -> None:
        self._linger = None
        self._has_lingered = True
        self._loop.wakeup.wake()

    def _is_worth_it(self) -> bool:
        """Whether to settle now: many results, or none that is still to come."""
        return (
            self._has_lingered
            or not self.running
            or bool(self._apart)
            or len(self._results) >= min(BATCH, self._in_flight.capacity // 2)
            or len(self._results) >= len(self._in_flight.held)
        )

    async def _one_pass(self) -> int:
        if not self._is_worth_it():
            return 0
        now = self._reactor.seconds()
        batch: dict[uuid.UUID, SendAndResult] = {}
        again: list[SendAndResult] = []
        for key, (send, result) in islice(self._results.items(), BATCH + len(self._apart)):
            if key not in self._apart:
                # A send that was given back may have been claimed and delivered again already. Only
                # one result of a send is settled at a time.
                batch.setdefault(send.id, (send, result))
            elif self._apart[key] <= now:
                again.append((send, result))
        settled = await self._settle_batch(list(batch.values())[:BATCH])
        # If nothing was settled, what is left is locked. It waits for the next pass, and no longer.
        self._has_lingered = not settled and bool(self._results)
        if settled and self._results and not self._is_worth_it():
            self._wait_for_others()
        for one in again:
            settled += sum(await divided([one], self._settle_part, self._set_apart))
        return settled

    async def _settle_batch(self, batch: Sequence[SendAndResult]) -> int:
        """Settle a batch; a result that cannot be stored stays for a later pass, alone."""
        try:
            return await self._settle(batch)
        except Exception as error:
            if not may_be_of_a_row(error):
                raise
            self._log.warn(
                "{count} results cannot be settled together: {error}",
                count=len(batch),
                error=one_line(error),
            )
            if len(batch) == 1:
                await self._set_apart(batch[0], error)
                return 0
        middle = len(batch) // 2
        settled = await divided(batch[:middle], self._settle_part, self._set_apart)
        settled += await divided(batch[middle:], self._settle_part, self._set_apart)
        return sum(settled)

    async def _settle_part(self, part: Sequence[SendAndResult]) -> int:
        return await self._settle(part, patience=PATIENCE)

    async def _set_apart(self, one: SendAndResult, error: Exception) -> None:
        """Let this result be tried again later, alone."""
        send, result = one
        key = (send.id, send.attempt)
        is_new = key not in self._apart
        wait = RETRY_SECONDS if isinstance(error, RowLocked) else APART_SECONDS
        self._apart[key] = self._reactor.seconds() + wait
        if is_new:
            self._log.error(
                "send {id}: {result} cannot be settled, and is tried again: {kind}: {error}",
                id=send.id,
                result=result,
                kind=type(error).__name__,
                error=one_line(error),
            )

    async def _settle(
        self, batch: Sequence[SendAndResult], *, patience: timedelta | None = None
    ) -> int:
        if not batch:
            return 0
        committed = await self._database.transact(_stored, results=batch, patience=patience)
        done = batch
        for send, _ in batch:
            key = (send.id, send.attempt)
            del self._results[key]
            if self._apart:
                self._apart.pop(key, None)
        if committed.locked:
            done = self._without_locked(batch, committed.locked)
        # Before the listeners are called: an error of a listener must not keep a send in flight.
        self._in_flight.release(send for send, _ in done)
        self._wake_claims(result for _, result in done)
        for send, result in done:
            if send.id in committed.sends:
                self._tell_listeners(send, result)
            else:
                self._telemetry.count("sends.lost")
                self._log.warn(
                    "send {id}: the claim was lost before {result} could be settled",
                    id=send.id,
                    result=result,
                )
        report_doubles(committed, self._telemetry, self._log)
        count_metrics(committed, self._telemetry.pending_metrics)
        return len(done)

    def _without_locked(
        self, batch: Sequence[SendAndResult], locked: Collection[uuid.UUID]
    ) -> Sequence[SendAndResult]:
        """The results that were settled; the others wait behind all that have come since."""
        for send, result in batch:
            if send.id in locked:
                self._results[send.id, send.attempt] = (send, result)
        self._telemetry.count("sends.locked", len(locked))
        self._log.info(
            "{count} results wait for subscriptions that another transaction has locked",
            count=len(locked),
        )
        return [(send, result) for send, result in batch if send.id not in locked]

    def _tell_listeners(self, send: Send, result: SendResult) -> None:
        """Call each listener; if one fails, the others are called all the same."""
        for listener in self._listeners:
            try:
                listener(send, result)
            except Exception:
                self._log.failure("send {id} is settled; a listener failed", id=send.id)

    def _wake_claims(self, results: Iterable[SendResult]) -> None:
        """Tell the claimer that there is room. Sends given back without delay are due at once."""
        if any(isinstance(result, GivenBack) and not result.delay for result in results):
            self._claims.wake()
        else:
            self._claims.look_again()


async def _stored(
    transaction: Transaction, *, results: Sequence[SendAndResult], patience: timedelta | None
) -> sends.SettledBatch:
    if patience is not None:
        await locks.wait_at_most(transaction, wait=patience)
    return await sends.settle(transaction, results=results)
