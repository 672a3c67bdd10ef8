"""Who is read next, if more has come than there is time for.

In each of its turns, the reactor reads from all connections that have sent something. While a flood
comes, such a turn is long, and a light request needs several: one for each step of its work. So the
time for reading is bounded in each turn. What has no time left waits for the next.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from attrs import define, field

# For each of the lanes, in each turn of the reactor.
TURN_SECONDS = 0.003


@define(eq=False, kw_only=True)
class ReadingLane:
    """Bounds the time for reading in each turn; ``reactor`` is its clock.

    If some wait, each client has its turn, however many of its connections wait.
    """

    _reactor: Any
    _spent: float = field(default=0.0, init=False)
    _is_in_turn: bool = field(default=False, init=False)
    _waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = field(
        factory=OrderedDict, init=False
    )

    def read(self, client: Hashable, work: Callable[[], None]) -> bool:
        """Read now, if there is time; otherwise at its turn. Returns whether it was now."""
        if self._waiting or self._spent >= TURN_SECONDS:
            self._waiting.setdefault(client, deque()).append(work)
            return False
        if not self._is_in_turn:
            self._begin_turn()
        self._do(work)
        return True

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


@define(eq=False, kw_only=True)
class ReadingLanes:
    """One lane for clients with whom somebody has proved who they are, and one for strangers.

    ``knows`` says whether the client at an address is of the first kind.
    """

    _reactor: Any
    _knows: Callable[[str], bool]
    _known: ReadingLane = field(init=False)
    _strange: ReadingLane = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._known = ReadingLane(reactor=self._reactor)
        self._strange = ReadingLane(reactor=self._reactor)

    def knows(self, address: str) -> bool:
        """Whether a client is known; without an address, it is a proxy that is trusted."""
        return not address or self._knows(address)

    def of(self, address: str) -> ReadingLane:
        """The lane of a client."""
        return self._known if self.knows(address) else self._strange
