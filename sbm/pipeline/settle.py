"""Results become outcomes in the database: a batch at a time, each exactly once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.model import metrics
from sbm.model.send import Asked, Result, Send, Settled
from sbm.pipeline.hand import Hand
from sbm.pipeline.loop import Bell, Loop
from sbm.store import sends
from sbm.store.database import Database
from sbm.store.errors import DatabaseUnavailable
from sbm.telemetry import Tally, Telemetry

BATCH = 200
RETRY_SECONDS = 1.0


@define(eq=False, slots=False)
class Settling(Service):
    """Keeps every result until it is committed; while the database is away, they wait here.

    ``settled`` is called after each batch, when there is room to claim again. Stopping settles
    what is left, for at most ``grace``.
    """

    _reactor: Any
    _database: Database
    _hand: Hand
    _telemetry: Telemetry
    _settled: Callable[[], None]
    _grace: timedelta
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._results: dict[tuple[uuid.UUID, int], tuple[Send, Result]] = {}
        self._loop = Loop("settle", self._one_pass, RETRY_SECONDS, Bell(self._reactor))

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        while self._results and self._reactor.seconds() < give_up_at:
            self._loop.bell.ring()
            await self._hand.emptied.wait(RETRY_SECONDS)
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped

    def add(self, send: Send, result: Result) -> None:
        """Settle this soon."""
        self._results[send.id, send.attempt] = (send, result)
        self._loop.bell.ring()

    async def _one_pass(self) -> int:
        batch: dict[uuid.UUID, tuple[Send, Result]] = {}
        for send, result in islice(self._results.values(), BATCH):
            # A send that was given back may be claimed and delivered again already: one at a time.
            batch.setdefault(send.id, (send, result))
        try:
            return await self._settle(list(batch.values()))
        except DatabaseUnavailable:
            raise
        except Exception:
            self._log.failure("{count} results cannot be settled together", count=len(batch))
        return sum([await self._settle_alone(*one) for one in batch.values()])

    async def _settle_alone(self, send: Send, result: Result) -> int:
        """One that cannot be stored is kept, behind the others, which it must not hold up."""
        try:
            return await self._settle([(send, result)])
        except DatabaseUnavailable:
            raise
        except Exception:
            self._log.failure("send {id}: {result} cannot be settled", id=send.id, result=result)
        key = (send.id, send.attempt)
        self._results[key] = self._results.pop(key)
        return 0

    async def _settle(self, batch: list[tuple[Send, Result]]) -> int:
        if not batch:
            return 0
        committed = await self._database.transact(sends.settle, results=batch)
        for send, _ in batch:
            del self._results[send.id, send.attempt]
        # Before anybody else is told, whose fault must not keep a send in hand.
        self._hand.release(send for send, _ in batch)
        self._settled()
        for send, result in batch:
            if send.id in committed.sends:
                self._telemetry.settled(send, result)
            else:
                self._telemetry.count("sends.lost")
                self._log.warn(
                    "send {id}: the claim was lost before {result} could be settled",
                    id=send.id,
                    result=result,
                )
        tell_doubles(committed, self._telemetry, self._log)
        tell_metrics(committed, batch, self._telemetry.tally)
        return len(batch)


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
    committed: sends.Committed, results: Iterable[tuple[Send | Asked, Result]], tally: Tally
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
