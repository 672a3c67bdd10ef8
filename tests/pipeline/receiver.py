"""A Message Sender that can lose answers, delay them, and store what nobody waits for any longer.

The test says what comes of every POST and of every question, and when. A daemon here is whoever
``hears`` of it, now or when it wakes, and has a clock and sends in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred

from sbm.clients.message_sender import Found
from sbm.clients.outcomes import HeldBack, OutcomeUnknown, Unavailable
from sbm.model.outbound import SEND_KEY

TIMEOUT = timedelta(seconds=30)
SETTLE = timedelta(seconds=120)


@frozen(kw_only=True)
class StoredOutbound:
    """An outbound that the Message Sender has stored."""

    id: str
    key: str
    identity: str
    message: str
    prepend: str
    is_resend: bool
    created_at: datetime


@define(eq=False, slots=False)
class Request:
    """A POST: connecting, then begun; and when nobody waits for its answer, perhaps still stored.

    ``latest`` is when the last byte of it is gone: what its lease and the settle time do not cover
    is the one pause that is excluded.
    """

    daemon: Any
    receiver: Receiver
    body: dict[str, Any]
    may_begin: Callable[[], bool]
    is_connecting: bool = True
    is_answered: bool = False
    latest: float | None = None
    outbound: StoredOutbound | None = None
    answer: Deferred[str] = field(factory=Deferred)

    @property
    def key(self) -> str:
        return str(self.body["metadata"][SEND_KEY])

    @property
    def is_heard(self) -> bool:
        """Whether a daemon waits for its answer."""
        return not self.answer.called and not self.daemon.is_dead

    async def wait(self) -> str:
        timer = self.daemon.clock.callLater(TIMEOUT.total_seconds(), self._break_off, "too late")
        try:
            return await self.answer
        except CancelledError:
            raise self._broken_off("cancelled") from None
        finally:
            if timer.active():
                timer.cancel()

    def connect(self) -> None:
        """The connection is there: the daemon may begin, as soon as it hears of it."""
        self.is_connecting = False
        self.daemon.hears(self._begin)

    def refuse(self) -> None:
        self.is_connecting = False
        self.fail(Unavailable("connection refused"))

    def succeed(self) -> None:
        """Store and answer."""
        outbound_id = self.store()
        self.is_answered = True
        self.daemon.hears(lambda: _tell(self.answer, outbound_id))

    def store(self) -> str:
        if self.outbound is None:
            self.outbound = self.receiver.store(self.body)
        return self.outbound.id

    def fail(self, error: Exception, *, is_stored: bool = False) -> None:
        """Answer with an error; what is not stored by now may still be."""
        if is_stored:
            self.store()
        self.is_answered = True
        self.daemon.hears(lambda: _tell(self.answer, error))

    def reject(self, error: Exception) -> None:
        """Answer that it is not stored, and never will be; what is stored is not rejected."""
        if self.outbound is None:
            self.receiver.drop(self)
            self.fail(error)
        else:
            self.succeed()

    def _begin(self) -> None:
        if self.answer.called:
            return
        if self.may_begin():
            held = self.daemon.in_flight.held[UUID(self.key)]
            self.latest = held.lease.end + SETTLE.total_seconds()
            self.receiver.begun(self)
        else:
            self.answer.errback(HeldBack("the lease is too short"))

    def _break_off(self, reason: str) -> None:
        self.answer.errback(self._broken_off(reason))

    def _broken_off(self, reason: str) -> Exception:
        return Unavailable(reason) if self.latest is None else OutcomeUnknown(reason)


@define(eq=False, slots=False)
class Question:
    """A GET of the list: what is there when it is asked, or any time until it is answered."""

    daemon: Any
    receiver: Receiver
    identities: frozenset[str]
    after: datetime
    then: Found
    answer: Deferred[Found] = field(factory=Deferred)

    async def wait(self) -> Found:
        timer = self.daemon.clock.callLater(
            2 * TIMEOUT.total_seconds(), self.fail, Unavailable("too late")
        )
        try:
            return await self.answer
        finally:
            self.receiver.over(self)
            if timer.active():
                timer.cancel()

    def succeed(self, *, is_fresh: bool) -> None:
        now = self.receiver.complete_list(self.identities, self.after)
        found = now if is_fresh else self.then
        self.daemon.hears(lambda: _tell(self.answer, found))

    def leave_doubts(self) -> None:
        """Not a row, and no promise that there is none."""
        found = Found(outbounds={}, doubt="a page could not be read")
        self.daemon.hears(lambda: _tell(self.answer, found))

    def fail(self, error: Exception) -> None:
        self.daemon.hears(lambda: _tell(self.answer, error))


@define(eq=False, slots=False)
class Receiver:
    """The Message Sender itself: what it stored, and what is on its way to it.

    ``begun`` is told of every POST in the moment when it begins.
    """

    now: Callable[[], datetime]
    begun: Callable[[Request], None]
    stored: list[StoredOutbound] = field(factory=list)
    requests: list[Request] = field(factory=list)
    questions: list[Question] = field(factory=list)

    def store(self, body: dict[str, Any]) -> StoredOutbound:
        *prepend, message = body["content"].split("\n")
        outbound = StoredOutbound(
            id=f"outbound-{len(self.stored) + 1}",
            key=body["metadata"][SEND_KEY],
            identity=body["to_identity"],
            message=message,
            prepend="\n".join(prepend),
            is_resend=body["resend"] == "true",
            created_at=self.now(),
        )
        self.stored.append(outbound)
        return outbound

    def complete_list(self, identities: frozenset[str], after: datetime) -> Found:
        """The complete answer at this moment."""
        outbounds: dict[str, tuple[str, ...]] = {}
        for one in self.stored:
            if one.identity in identities and one.created_at >= after:
                outbounds[one.key] = (*outbounds.get(one.key, ()), one.id)
        return Found(outbounds=outbounds)

    def connecting(self) -> list[Request]:
        return self._those(lambda one: one.is_connecting and one.is_heard)

    def waiting(self) -> list[Request]:
        """Requests that were begun, and whose answers a daemon waits for."""
        return self._those(
            lambda one: one.latest is not None and one.is_heard and not one.is_answered
        )

    def on_their_way(self) -> list[Request]:
        """Requests that were begun and not stored, whether or not a daemon waits."""
        return self._those(lambda one: one.latest is not None and one.outbound is None)

    def forget(self, seconds: float) -> None:
        """Drop requests that have been on their way for too long, and those that are finished."""
        self.requests = [
            one
            for one in self.requests
            if one.is_heard or (one.latest is not None and one.outbound is None)
        ]
        for one in self.on_their_way():
            if one.latest is not None and one.latest <= seconds:
                self.drop(one)

    def drop(self, request: Request) -> None:
        """It is not stored, and never will be."""
        self.requests.remove(request)

    def over(self, question: Question) -> None:
        if question in self.questions:
            self.questions.remove(question)

    def _those(self, are: Callable[[Request], bool]) -> list[Request]:
        return sorted(filter(are, self.requests), key=lambda one: one.key)


def _tell(answer: Deferred[Any], what: Any) -> None:
    """Drop answers that no daemon waits for any more."""
    if not answer.called and isinstance(what, Exception):
        answer.errback(what)
    elif not answer.called:
        answer.callback(what)
