"""Limits how many sends are in progress at a time; single sends come first."""

from __future__ import annotations

from typing import Literal

from attrs import define
from twisted.internet.defer import Deferred

from sbm.model.send import Lane

# A send whose moment has come waits for the next slot. Others wait with those of their lane.
Rank = Literal["now"] | Lane


@define(eq=False, slots=False, kw_only=True)
class PrioritySlots:
    """A number of slots. Single sends get a free slot before those of a tick.

    Sends whose moment has come get it before both. Within a rank, the order is that of arrival.
    """

    _places: int

    def __attrs_post_init__(self) -> None:
        self._free = self._places
        # In order of arrival. A dict, because one in the middle of the queue may be cancelled.
        self._waiting: dict[Rank, dict[Deferred[None], None]] = {
            "now": {},
            "single": {},
            "tick": {},
        }
        self._is_calling = False

    async def take(self, rank: Rank) -> None:
        """Wait for a slot for this rank. It has to be given back."""
        if self._free:
            self._free -= 1
            return
        turn: Deferred[None] = Deferred(self._waiting[rank].pop)
        self._waiting[rank][turn] = None
        await turn

    def give_back(self) -> None:
        """Give back a slot, which goes to the send that is next."""
        self._free += 1
        self._call()

    def turn_away(self) -> None:
        """Cancel every wait."""
        for waiting in self._waiting.values():
            for turn in list(waiting):
                turn.cancel()

    def _call(self) -> None:
        """Give the free slots to the sends that are next, one after the other.

        A send that ends at once calls this function again. That call only returns: if it gave out
        the next slot, the stack would grow with the length of the queue.
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
