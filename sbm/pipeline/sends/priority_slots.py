"""Whose turn it is: so many sends at a time, and those that were asked for one by one first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define
from twisted.internet.defer import Deferred

from sbm.model.send import Lane


@define(eq=False, slots=False, kw_only=True)
class PrioritySlots:
    """So many places; of those that wait for one, single sends come before those of a tick.

    Within a lane, whoever came first is first.
    """

    _places: int

    def __attrs_post_init__(self) -> None:
        self._free = self._places
        # In order of arrival; by key, as one may be broken off from the middle of the queue.
        self._waiting: dict[Lane, dict[Deferred[None], None]] = {"single": {}, "tick": {}}
        self._is_calling = False

    @asynccontextmanager
    async def take(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for a turn of this lane, and have it for as long as the block lasts."""
        if self._free:
            self._free -= 1
        else:
            turn: Deferred[None] = Deferred(self._waiting[lane].pop)
            self._waiting[lane][turn] = None
            await turn
        try:
            yield
        finally:
            self._free += 1
            self._call()

    def turn_away(self) -> None:
        """Break off the waiting of all who wait."""
        for waiting in self._waiting.values():
            for turn in list(waiting):
                turn.cancel()

    def _call(self) -> None:
        """Call whoever is next, one after the other.

        Work that is over at once comes back to here: called from there, a long queue of it would
        lie on the stack as a whole.
        """
        if self._is_calling:
            return
        self._is_calling = True
        try:
            while (turn := self._next()) is not None:
                turn.callback(None)
        finally:
            self._is_calling = False

    def _next(self) -> Deferred[None] | None:
        for waiting in self._waiting.values():
            if waiting and self._free:
                turn = next(iter(waiting))
                del waiting[turn]
                self._free -= 1
                return turn
        return None
