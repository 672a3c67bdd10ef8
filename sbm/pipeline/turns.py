"""Whose turn it is: so many sends at a time, and those that were asked for one by one first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define
from twisted.internet.defer import Deferred

from sbm.model.send import Lane


@define(eq=False, slots=False)
class Turns:
    """``places`` for sends of both lanes, and ``reserved`` more that only single ones may have.

    Of those that wait, single ones come before those of a tick; within a lane, whoever came first.
    """

    _places: int
    _reserved: int

    def __attrs_post_init__(self) -> None:
        self._free = self._places + self._reserved
        # In order of arrival; by key, as one may be broken off from the middle of the queue.
        self._waiting: dict[Lane, dict[Deferred[None], None]] = {"single": {}, "tick": {}}
        self._is_calling = False

    @asynccontextmanager
    async def take(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for a turn of this lane, and have it for as long as the block lasts."""
        if self._has_place(lane):
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

    def _has_place(self, lane: Lane) -> bool:
        return self._free > (0 if lane == "single" else self._reserved)

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
        for lane, waiting in self._waiting.items():
            if waiting and self._has_place(lane):
                turn = next(iter(waiting))
                del waiting[turn]
                self._free -= 1
                return turn
        return None
