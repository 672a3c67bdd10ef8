"""The path of one send, from claimed to its result."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import HeldBack, Rejected, Unavailable, Unknown
from sbm.model import send as model
from sbm.model.outbound import compose
from sbm.model.send import GivenBack, Result, Settled, objection
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.hand import Hand, Held
from sbm.pipeline.look_up import LookUp
from sbm.pipeline.retries import Retries
from sbm.pipeline.settle import Settling
from sbm.pipeline.turns import Turns

STOPPING = "the daemon is stopping"


class Breakers(NamedTuple):
    """Those of the services that a send needs."""

    identity_store: Breaker
    message_sender: Breaker


@define(eq=False, slots=False)
class Delivery(Service):
    """Delivers what is in hand, each send when it has its turn, and passes the results on.

    Stopping gives back what was not begun, and lets the rest go on for ``grace``; what is then
    still under way is broken off, and is unknown if its POST was begun.
    """

    _reactor: Any
    _hand: Hand
    _settling: Settling
    _look_up: LookUp
    _message_sender: MessageSender
    _breakers: Breakers
    _retries: Retries
    _media_url: str
    _dry_runs: frozenset[int]
    _request_timeout: timedelta
    _turns: Turns
    _grace: timedelta
    _log: Logger = field(factory=Logger)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        self._turns.turn_away()
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
            async with self._turns.take(held.send.lane):
                result = await self.deliver(held)
        except CancelledError:
            # Broken off, mostly while it waited for its turn.
            result = self._broken(held, STOPPING, GivenBack(reason=STOPPING, delay=timedelta(0)))
        except Exception as error:
            self._log.failure("send {id} failed", id=held.send.id)
            reason = f"{type(error).__name__}: {error}"
            result = self._broken(held, reason, self._retries.fault(held.send, "content", reason))
        self._settling.add(held.send, result)

    @staticmethod
    def _broken(held: Held, reason: str, otherwise: Result) -> Result:
        """Once a POST may have begun, nobody knows how far it came."""
        return model.Unknown(reason=reason) if held.is_begun else otherwise

    async def deliver(self, held: Held) -> Result:
        """Look up the address, hand the message over, and say how it went."""
        send = held.send
        if not self.running:
            return GivenBack(reason=STOPPING, delay=timedelta(0))
        nothing_to_do = objection(send)
        if nothing_to_do is not None:
            return nothing_to_do
        # What was claimed before a service went away need not learn it the hard way.
        for breaker in self._breakers:
            if breaker.wait:
                return self._retries.away(send, breaker, breaker.reason)
        to_addr = await self._look_up.address_of(send)
        if isinstance(to_addr, GivenBack) and not self.running and not to_addr.is_fault:
            return GivenBack(reason=STOPPING, delay=timedelta(0))  # mostly it was broken off
        if not isinstance(to_addr, str):
            return to_addr
        return await self._post(held, compose(send, to_addr, self._media_url))

    async def _post(self, held: Held, outbound: dict[str, Any]) -> Result:
        send, breaker = held.send, self._breakers.message_sender
        if send.recipient is not None and send.recipient.messageset_id in self._dry_runs:
            return Settled(outcome="dry-run", stage="post")
        if breaker.wait:
            return self._retries.away(send, breaker, breaker.reason)

        def begin() -> bool:
            held.is_begun = self._hand.outlasts(held, self._request_timeout)
            return held.is_begun

        try:
            outbound_id = await self._message_sender.post(outbound, begin=begin)
        except HeldBack:
            return GivenBack(reason="the lease was too short", delay=timedelta(0))
        except Unavailable as error:
            breaker.fail(error)
            return self._retries.away(send, breaker, str(error))
        except Unknown as error:
            # Whatever it was, it may befall the next one, too: better one unknown than all.
            breaker.fail(error)
            return model.Unknown(reason=str(error))
        except Rejected as error:
            breaker.succeed()
            return Settled(outcome="refused", stage="post", reason=str(error))
        breaker.succeed()
        return Settled(outcome="sent", stage="post", outbound_id=outbound_id)
