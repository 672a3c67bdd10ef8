"""The path of one send, from claimed to its result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.logger import Logger

from sbm.clients.identity_store import IdentityStore
from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import HeldBack, Rejected, Unavailable, Unknown
from sbm.model import send as model
from sbm.model.backoff import backoff
from sbm.model.outbound import compose
from sbm.model.send import GivenBack, Result, Settled, objection
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.hand import Hand, Held
from sbm.pipeline.settle import Settling

STOPPING = "the daemon is stopping"


@define(eq=False, slots=False)
class Delivery(Service):
    """Delivers what is in hand, ``concurrency`` sends at a time, and passes the results on.

    Stopping gives back what was not begun, and lets the rest go on for ``grace``; what is then
    still under way is broken off, and is unknown if its POST was begun.
    """

    _reactor: Any
    _hand: Hand
    _settling: Settling
    _identity_store: IdentityStore
    _message_sender: MessageSender
    _identity_store_breaker: Breaker
    _message_sender_breaker: Breaker
    _media_url: str
    _request_timeout: timedelta
    _concurrency: int
    _grace: timedelta
    _draw: Callable[[], float]
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._permits = DeferredSemaphore(self._concurrency)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        for turn in list(self._permits.waiting):
            turn.cancel()
        try:
            while self._hand.held and self._reactor.seconds() < give_up_at:
                await self._hand.emptied.wait(give_up_at - self._reactor.seconds())
        finally:
            for held in list(self._hand.held.values()):
                if held.work is not None:
                    held.work.cancel()

    def begin(self, held: Held) -> None:
        """Deliver a send when its turn comes."""
        held.work = Deferred.fromCoroutine(self._carry(held))
        held.work.addErrback(lambda failure: self._log.failure("delivery broke", failure))

    async def _carry(self, held: Held) -> None:
        try:
            async with self._permits:
                result = await self.deliver(held)
        except CancelledError:
            # Broken off while it waited for its turn; what is under way ends in a result.
            result = GivenBack(reason=STOPPING, delay=timedelta(0))
        except Exception as error:
            # Not foreseen, so nobody knows how far it came.
            self._log.failure("send {id} failed", id=held.send.id)
            result = model.Unknown(reason=f"{type(error).__name__}: {error}")
        self._settling.add(held.send, result)

    async def deliver(self, held: Held) -> Result:
        """Look up the address, hand the message over, and say how it went."""
        send = held.send
        if not self.running:
            return GivenBack(reason=STOPPING, delay=timedelta(0))
        nothing_to_do = objection(send)
        if nothing_to_do is not None:
            return nothing_to_do
        try:
            to_addr = await self._identity_store.address_of(send.identity)
        except Unavailable as error:
            return self._away(self._identity_store_breaker, error, held)
        except Rejected as error:
            self._identity_store_breaker.succeed()
            return Settled(outcome="failed", stage="address", reason=str(error))
        self._identity_store_breaker.succeed()
        return await self._post(held, compose(send, to_addr, self._media_url))

    async def _post(self, held: Held, outbound: dict[str, Any]) -> Result:
        def begin() -> bool:
            return self._hand.outlasts(held, self._request_timeout)

        try:
            outbound_id = await self._message_sender.post(outbound, begin=begin)
        except HeldBack:
            return GivenBack(reason="the lease was too short", delay=timedelta(0))
        except Unavailable as error:
            return self._away(self._message_sender_breaker, error, held)
        except Unknown as error:
            # Whatever it was, it may befall the next one, too: better one unknown than all.
            self._message_sender_breaker.fail(str(error))
            return model.Unknown(reason=str(error))
        except Rejected as error:
            self._message_sender_breaker.succeed()
            return Settled(outcome="refused", stage="post", reason=str(error))
        self._message_sender_breaker.succeed()
        return Settled(outcome="sent", stage="post", outbound_id=outbound_id)

    def _away(self, breaker: Breaker, error: Unavailable, held: Held) -> GivenBack:
        """Later than the next probe, or the one send that always fails would be every probe."""
        breaker.fail(str(error), error.retry_after)
        delay = breaker.wait + backoff(held.send.attempt, self._at_least_half)
        return GivenBack(reason=str(error), delay=delay)

    def _at_least_half(self) -> float:
        return 0.5 + self._draw() / 2
