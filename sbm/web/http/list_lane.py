"""The lane of lists: a page of a thousand rows must not keep light requests waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar

from attrs import define, field

from sbm.runtime.places import Places
from sbm.web.http.http_errors import Busy

Result = TypeVar("Result")

# How many lists of one user are read at once.
OF_USER = 2
# How many wait for their turn. Each has a connection of a client, and nothing else.
MAX_WAITING = 100


@define(eq=False, kw_only=True)
class ListLane:
    """Reads at most ``most`` lists at once, and of one user OF_USER; others wait for their turn.

    A list has its place until the rows are written as JSON: that takes longer than to read them. A
    long list gives its place back after each portion.
    """

    _most: int
    _waiting: int = field(default=0, init=False)
    _of_user: dict[Hashable, Places] = field(factory=dict, init=False)
    _places: Places = field(init=False)

    @_places.default
    def _make_places(self) -> Places:
        return Places(self._most)

    async def run(self, user: Hashable, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do the work of a list when it is the turn of this user; raises Busy if many wait."""
        if self._waiting >= MAX_WAITING:
            raise Busy("Too many lists are being read now; try again soon.")
        return await self.go_on(user, work)

    async def go_on(self, user: Hashable, work: Callable[[], Awaitable[Result]]) -> Result:
        """Go on with a list whose answer has begun, when it is the turn of this user."""
        async with self._turn(user):
            return await work()

    @asynccontextmanager
    async def _turn(self, user: Hashable) -> AsyncIterator[None]:
        own = self._of_user.setdefault(user, Places(OF_USER))
        self._waiting += 1
        try:
            await own.acquire()
            try:
                await self._places.acquire()
            except BaseException:
                own.release()
                raise
        finally:
            self._waiting -= 1
            self._forget(user, own)
        try:
            yield
        finally:
            self._places.release()
            own.release()
            self._forget(user, own)

    def _forget(self, user: Hashable, own: Places) -> None:
        if own.tokens == own.limit and not own.waiting:
            self._of_user.pop(user, None)
