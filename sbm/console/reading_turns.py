"""The turns of pages that read: a slow page costs the same, however often it is loaded again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from sbm.runtime.threads import shielded
from sbm.web.http.list_lane import ListLane

Result = TypeVar("Result")


@define(eq=False, kw_only=True)
class ReadingTurns:
    """At most ``most`` reads at once, and of one session two; others wait for their turn.

    If a browser leaves, the server goes on with the statement all the same. So a read that has
    begun keeps its turn until it has ended.
    """

    _most: int
    _lane: ListLane = field(init=False)

    @_lane.default
    def _make_lane(self) -> ListLane:
        return ListLane(most=self._most)

    async def read(self, session_id: int, work: Callable[[], Awaitable[Result]]) -> Result:
        """Read when it is the turn of this session; raises Busy if many wait."""
        has_begun = False

        async def begin() -> Result:
            nonlocal has_begun
            has_begun = True
            return await work()

        working = Deferred.fromCoroutine(self._lane.run(session_id, begin))
        try:
            return await shielded(working)
        except CancelledError:
            if not has_begun:
                working.cancel()
            raise
