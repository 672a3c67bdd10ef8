"""Small fakes of the objects that a part of the pipeline uses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sbm.model.durations import LeaseTime
from sbm.model.send import Send, SendResult
from sbm.pipeline.sends.in_flight import ClaimedSend, InFlight
from sbm.pipeline.sends.pacer import Pacer
from sbm.runtime.wakeups import Wakeup
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable
from tests.model.sends import a_send

LEASE = LeaseTime(timedelta(seconds=60))


def another_send(**difference: Any) -> Send:
    """A send with an id of its own."""
    return evolve(a_send(**difference), id=uuid4())


def no_pace(reactor: Any) -> Pacer:
    """A pacer without an overall rate, that asks no database."""
    nothing: Any = None
    return Pacer(reactor=reactor, database=nothing, overall_rate=None)


def nothing_in_flight(
    clock: Clock, *, capacity: int = 10, spare: int = 0, owner: UUID | None = None
) -> InFlight:
    """Room for sends, and none in it; its uptime is the clock's."""
    return InFlight(
        owner=owner or uuid4(),
        capacity=capacity,
        spare=spare,
        lease_time=LEASE,
        emptied=Wakeup(reactor=clock),
        uptime=clock.seconds,
    )


@define(eq=False, slots=False)
class Service:
    """Another service: it answers when the test says, or at once with ``always``.

    ``broken_off`` is what its client makes of a call that nobody waits for any longer.
    """

    always: Any = None
    broken_off: Exception = field(factory=RuntimeError)
    asked: list[Any] = field(factory=list)
    waiting: list[Deferred[Any]] = field(factory=list)
    answers_questions: bool = True
    checks: int = 0

    async def address_of(self, identity: str) -> str:
        return str(await self._answer(identity))

    async def post(self, outbound: bytes, *, begin: Callable[[], bool]) -> str:
        self.begin = begin
        return str(await self._answer(json.loads(outbound)))

    async def is_well(self, *, but: str = "") -> bool:
        self.checks += 1
        return self.answers_questions

    async def _answer(self, question: Any) -> Any:
        self.asked.append(question)
        if self.always is None:
            answer: Deferred[Any] = Deferred()
            self.waiting.append(answer)
            try:
                return await answer
            except CancelledError:
                raise self.broken_off from None
        if isinstance(self.always, Exception):
            raise self.always
        return self.always


@define(eq=False)
class Results:
    """Takes results as settling does, and lets go of the send at once."""

    in_flight: InFlight
    results: dict[UUID, SendResult] = field(factory=dict)

    def add(self, send: Send, result: SendResult) -> None:
        assert send.id not in self.results, "two results for one claim"
        self.results[send.id] = result
        self.in_flight.release([send])


@define(eq=False)
class Begun:
    """Takes sends as delivery does, and does nothing with them; each ``takes`` so many seconds."""

    clock: Clock = field(factory=Clock, kw_only=True)
    takes: float = field(default=0.0, kw_only=True)
    held: list[ClaimedSend] = field(factory=list)

    def begin(self, held: ClaimedSend) -> None:
        self.held.append(held)
        self.clock.rightNow += self.takes


@define(eq=False)
class BreakableDatabase:
    """A real database whose connections can be cut, also during COMMIT."""

    database: Database
    is_cut: bool = False
    is_cut_at_commit: bool = False
    tries: int = 0
    behind_commit: Callable[[], Awaitable[None]] | None = None

    async def transact(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self.tries += 1
        if self.is_cut:
            raise DatabaseUnavailable("cut")
        result = await self.database.transact(work, *args, **kwargs)
        behind_commit, self.behind_commit = self.behind_commit, None
        if behind_commit is not None:
            await behind_commit()
        if self.is_cut_at_commit:
            raise CommitUnknown("cut at COMMIT")
        return result
