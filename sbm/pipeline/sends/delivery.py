"""The path of one send, from claimed to its result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import Failed, Faulty, HeldBack, OutcomeUnknown, Rejected
from sbm.model import send as model
from sbm.model.content_rules import MAX_TEXT_LENGTH
from sbm.model.durations import RequestTimeout, StopGrace
from sbm.model.outbound import compose
from sbm.model.send import GivenBack, Send, SendResult, Settled, objection
from sbm.model.text import one_line
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends.address_lookup import AddressLookup
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.completer import Completer
from sbm.pipeline.sends.in_flight import ClaimedSend, InFlight
from sbm.pipeline.sends.pacer import Pacer
from sbm.pipeline.sends.priority_slots import PrioritySlots
from sbm.pipeline.sends.retries import Retries
from sbm.runtime.places import Places

STOPPING = "the daemon is stopping"

# Of messages with more bytes than that, so many are posted at once. Only imported ones are so long,
# and fifty of a mebibyte would fill the memory.
LONG = 64 * 2**10
LONG_AT_ONCE = 8

_LONGEST_REASON = 300


class Blames(NamedTuple):
    """The blame of each service that a send needs."""

    identity_store: Blame
    message_sender: Blame

    @property
    def breakers(self) -> tuple[Breaker, Breaker]:
        """The breakers of both."""
        return self.identity_store.breaker, self.message_sender.breaker


@define(eq=False, slots=False, kw_only=True)
class Delivery(Service):
    """Delivers the sends in flight, each when it gets a slot, and passes the results on.

    Stopping gives back the sends that were not begun, and lets the others go on for ``grace``.
    After that they are cancelled, and are unknown if their POST was begun. ``max_text_length`` is
    how many characters the Message Sender accepts.
    """

    _reactor: Any
    _in_flight: InFlight
    _completer: Completer
    _address_lookup: AddressLookup
    _message_sender: MessageSender
    _blames: Blames
    _retries: Retries
    _media_url: str
    _dry_runs: frozenset[int]
    _request_timeout: RequestTimeout
    _slots: PrioritySlots
    _pacer: Pacer
    _grace: StopGrace
    _max_text_length: int = MAX_TEXT_LENGTH
    _room: Places = field(factory=lambda: Places(LONG_AT_ONCE), init=False)
    _log: Logger = field(factory=Logger)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        give_up_at = self._reactor.seconds() + self._grace.total_seconds()
        self._slots.turn_away()
        self._pacer.turn_away()
        try:
            while self._in_flight.held and self._reactor.seconds() < give_up_at:
                await self._in_flight.emptied.wait(give_up_at - self._reactor.seconds())
        finally:
            for held in list(self._in_flight.held.values()):
                if held.work is not None:
                    held.work.cancel()

    def begin(self, held: ClaimedSend) -> None:
        """Deliver a send when it gets a slot."""
        held.work = Deferred.fromCoroutine(self._carry(held))
        held.work.addErrback(lambda failure: self._log.failure("a delivery failed", failure))

    async def _carry(self, held: ClaimedSend) -> None:
        try:
            await self._slots.take(held.send.lane)
            held.has_slot = True
            try:
                result = await self.deliver(held)
            finally:
                self._leave_slot(held)
        except CancelledError:
            # It was cancelled, mostly while it waited for a slot.
            reason = held.withheld or STOPPING
            result = self._broken(held, reason, GivenBack(reason=reason, delay=timedelta(0)))
        except Exception as error:
            self._log.failure("send {id} failed", id=held.send.id)
            reason = one_line(f"{type(error).__name__}: {error}", most=_LONGEST_REASON)
            result = self._broken(held, reason, self._retries.fault(held.send, "content", reason))
        self._completer.add(held.send, result)

    def _leave_slot(self, held: ClaimedSend) -> None:
        if held.has_slot:
            held.has_slot = False
            self._slots.give_back()

    @staticmethod
    def _broken(held: ClaimedSend, reason: str, otherwise: SendResult) -> SendResult:
        """The result is unknown once a POST may have begun; before that, it is ``otherwise``."""
        return model.Unknown(reason=reason) if held.is_begun else otherwise

    async def deliver(self, held: ClaimedSend) -> SendResult:
        """Look up the address and post the message; returns the result."""
        send = held.send
        if not self.running or held.withheld:
            return GivenBack(reason=held.withheld or STOPPING, delay=timedelta(0))
        nothing_to_do = objection(send, max_text_length=self._max_text_length)
        nothing_to_do = nothing_to_do or self._retries.exhausted(send)
        if nothing_to_do is not None:
            return nothing_to_do
        # A send that was claimed before a service went away is given back without a call.
        for breaker in self._blames.breakers:
            if breaker.is_open:
                return self._retries.away(breaker)
        to_addr = await self._address_lookup.address_of(send)
        if isinstance(to_addr, GivenBack) and not self.running and not to_addr.is_fault:
            return GivenBack(reason=STOPPING, delay=timedelta(0))  # mostly it was cancelled
        if not isinstance(to_addr, str):
            return to_addr
        return await self._post(held, partial(compose, send, to_addr, self._media_url))

    async def _post(self, held: ClaimedSend, outbound: Callable[[], bytes]) -> SendResult:
        """Post what ``outbound`` makes: while it waits for its turn, it takes no memory."""
        send = held.send
        if send.recipient is not None and send.recipient.messageset_id in self._dry_runs:
            outbound()
            return Settled(outcome="dry-run", stage="post")
        if self._pacer.is_paced(send):
            self._leave_slot(held)  # others need not wait with it
            await self._turn(send)
            await self._slots.take("now")
            held.has_slot = True
        while (result := await self._post_in_room(held, outbound)) is None:
            await self._turn(send)  # the moment was over; it keeps its slot for the next one
        return result

    async def _post_in_room(
        self, held: ClaimedSend, outbound: Callable[[], bytes]
    ) -> SendResult | None:
        recipient = held.send.recipient
        if recipient is None or recipient.message is None or recipient.message.size <= LONG:
            return await self._try_to_post(held, outbound())
        await self._room.acquire()
        try:
            return await self._try_to_post(held, outbound())
        finally:
            self._room.release()

    async def _turn(self, send: Send) -> None:
        """Wait for a moment; while the daemon is stopping, nobody waits."""
        if not self.running:
            raise CancelledError
        await self._pacer.turn(send)

    async def _try_to_post(self, held: ClaimedSend, outbound: bytes) -> SendResult | None:
        """The result of a POST, if one could begin; None: it has to wait for another moment."""
        send, blame = held.send, self._blames.message_sender
        breaker = blame.breaker
        if breaker.is_open:
            return self._retries.away(breaker)
        began_at = blame.seconds()
        obstacle = ""

        def begin() -> bool:
            nonlocal obstacle
            obstacle = self._in_flight.obstacle(held, self._request_timeout)
            held.is_begun = not obstacle and (
                not self._pacer.is_paced(send) or self._pacer.take(send)
            )
            return held.is_begun

        try:
            outbound_id = await self._message_sender.post(outbound, begin=begin)
        except HeldBack:
            if self._pacer.is_paced(send) and not obstacle:
                return None
            return GivenBack(reason=obstacle, delay=timedelta(0))
        except Rejected as error:
            breaker.succeed()
            return Settled(outcome="refused", stage="post", reason=str(error))
        except Failed as error:
            return await self._failed(send, error, began_at)
        blame.went_well(send.identity)
        return Settled(outcome="sent", stage="post", outbound_id=outbound_id)

    async def _failed(self, send: Send, error: Failed, began_at: float) -> SendResult:
        """The result of a send whose POST got no good answer."""
        blame = self._blames.message_sender
        reason, is_fault = str(error), False
        if isinstance(error, Faulty) or (isinstance(error, OutcomeUnknown) and error.may_be_theirs):
            is_fault = await blame.is_theirs(
                send.identity, error, began_at=began_at, faults=send.faults
            )
        else:
            blame.breaker.fail(error)
        if isinstance(error, OutcomeUnknown):
            return model.Unknown(reason=reason, is_fault=is_fault)
        if is_fault:
            return self._retries.fault(send, "post", reason)
        return self._retries.failed(send, blame.breaker, reason)
