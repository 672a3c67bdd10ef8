"""Work that is bounded in each turn of the reactor, in turns for all clients."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

# For each kind of work, in each turn of the reactor.
TURN_SECONDS = 0.003


@define(eq=False, kw_only=True)
class FairTurns:
    """Bounds the time for one kind of work in each turn; ``reactor`` is its clock.

    If some wait, each client has its turn, however many of its connections wait.
    """

    _reactor: Any
    _spent: float = field(default=0.0, init=False)
    _is_in_turn: bool = field(default=False, init=False)
    _waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = field(
        factory=OrderedDict, init=False
    )

    def do(self, client: Hashable, work: Callable[[], None]) -> bool:
        """Work now, if there is time; otherwise at its turn. Returns whether it was now."""
        if self._waiting or self._spent >= TURN_SECONDS:
            self._wait(client, work)
            return False
        if not self._is_in_turn:
            self._begin_turn()
        self._do(work)
        return True

    async def turn(self, client: Hashable) -> None:
        """Wait until it is the turn of this client: what the caller does then is its work.

        It is never this turn of the reactor, so that the time of that work is measured.
        """
        begun: Deferred[None] = Deferred()
        self._wait(client, lambda: begun.callback(None))
        if not self._is_in_turn:
            self._begin_turn()
        await begun

    def _wait(self, client: Hashable, work: Callable[[], None]) -> None:
        self._waiting.setdefault(client, deque()).append(work)

    def _begin_turn(self) -> None:
        self._is_in_turn = True
        self._reactor.callLater(0, self._end_turn)

    def _end_turn(self) -> None:
        self._is_in_turn, self._spent = False, 0.0
        if self._waiting:
            self._begin_turn()
        while self._waiting and self._spent < TURN_SECONDS:
            client, works = self._waiting.popitem(last=False)
            work = works.popleft()
            if works:
                self._waiting[client] = works
            self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        began_at = self._reactor.seconds()
        work()
        self._spent += self._reactor.seconds() - began_at
