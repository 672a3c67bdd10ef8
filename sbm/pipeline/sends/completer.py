"""Results become outcomes in the database: a batch at a time, each exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.model import metrics
from sbm.model.durations import StopGrace
from sbm.model.send import Asked, GivenBack, Send, SendResult, Settled, Unread
from sbm.pipeline.dividing import divided
from sbm.pipeline.sends.in_flight import InFlight
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup
from sbm.store import locks, sends
from sbm.store.postgres.database import Database, Transaction
from sbm.store.postgres.errors import RowLocked, may_be_of_a_row, one_line
from sbm.telemetry import Tally, Telemetry

BATCH = 200
RETRY_SECONDS = 1.0

# How long the parts of a batch that could not be settled wait for a lock; and for how long one that
# cannot be settled even alone is left.
PATIENCE = timedelta(milliseconds=100)
APART_SECONDS = 10.0

SendAndResult = tuple[Send, SendResult]

# Is told of each result that is committed.
Listener = Callable[[Send, SendResult], None]


@define(eq=False, slots=False, kw_only=True)
class Completer(Service):
    """Keeps every result until it is committed; while the database is away, they wait here.

    One whose subscription is locked by somebody else waits, too, and holds up no other.
    ``listeners`` are told of each result that is committed, in order. ``claims`` is the wake-up of
    those who claim: after each batch there is room to claim again. Stopping settles what is left,
    for at most ``grace``.
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
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        while self._results and self._reactor.seconds() < give_up_at:
            self._loop.wakeup.wake()
            await self._in_flight.emptied.wait(RETRY_SECONDS)
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped

    def add(self, send: Send, result: SendResult) -> None:
        """Settle this soon."""
        self._results[send.id, send.attempt] = (send, result)
        self._loop.wakeup.wake()

    async def _one_pass(self) -> int:
        now = self._reactor.seconds()
        batch: dict[uuid.UUID, SendAndResult] = {}
        again: list[SendAndResult] = []
        for key, (send, result) in islice(self._results.items(), BATCH + len(self._apart)):
            if key not in self._apart:
                # A send that was given back may be claimed and delivered again already: one at a
                # time.
                batch.setdefault(send.id, (send, result))
            elif self._apart[key] <= now:
                again.append((send, result))
        settled = await self._settle_batch(list(batch.values())[:BATCH])
        for one in again:
            settled += sum(await divided([one], self._settle_part, self._set_apart))
        return settled

    async def _settle_batch(self, batch: Sequence[SendAndResult]) -> int:
        """One that cannot be stored must not hold up the others, and stays for a later pass."""
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
        """It is tried again, but by itself."""
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
        for send, result in batch:
            key = (send.id, send.attempt)
            del self._results[key]
            self._apart.pop(key, None)
            if send.id in committed.locked:
                self._results[key] = (send, result)  # behind the others
        if committed.locked:
            self._telemetry.count("sends.locked", len(committed.locked))
            self._log.info(
                "{count} results wait for subscriptions that somebody else has locked",
                count=len(committed.locked),
            )
        done = [(send, result) for send, result in batch if send.id not in committed.locked]
        # Before anybody else is told, whose fault must not keep a send in flight.
        self._in_flight.release(send for send, _ in done)
        self._wake_claims(result for _, result in done)
        for send, result in done:
            if send.id in committed.sends:
                for listener in self._listeners:
                    listener(send, result)
            else:
                self._telemetry.count("sends.lost")
                self._log.warn(
                    "send {id}: the claim was lost before {result} could be settled",
                    id=send.id,
                    result=result,
                )
        tell_doubles(committed, self._telemetry, self._log)
        tell_metrics(committed, done, self._telemetry.tally)
        return len(done)

    def _wake_claims(self, results: Iterable[SendResult]) -> None:
        """There is room; and what was given back without delay is due at once."""
        if any(isinstance(result, GivenBack) and not result.delay for result in results):
            self._claims.wake()
        else:
            self._claims.look_again()


async def _stored(
    transaction: Transaction, *, results: Sequence[SendAndResult], patience: timedelta | None
) -> sends.Committed:
    if patience is not None:
        await locks.wait_at_most(transaction, wait=patience)
    return await sends.settle(transaction, results=results)


def tell_doubles(committed: sends.Committed, telemetry: Telemetry, log: Logger) -> None:
    """Say of which sends the Message Sender holds more than one outbound."""
    for send_id, outbound_id in committed.doubles:
        telemetry.count("sends.doubled")
        log.error(
            "send {id} is doubled: the Message Sender holds outbound {outbound_id}, too",
            id=send_id,
            outbound_id=outbound_id,
        )


def tell_metrics(
    committed: sends.Committed,
    results: Iterable[tuple[Send | Asked | Unread, SendResult]],
    tally: Tally,
) -> None:
    """Count, for the Metrics API, what this commit and no other has settled."""
    for send, result in results:
        if not isinstance(result, Settled) or send.id not in committed.messagesets:
            continue
        if result.outcome in ("sent", "adopted"):
            for name in metrics.of_message(*committed.messagesets[send.id]):
                tally.tell(name)
        elif result.is_unaddressed and isinstance(send, Send) and send.kind == "next":
            tally.tell(metrics.ERRORED)
    if committed.chained:
        tally.tell(metrics.CREATED, committed.chained)
