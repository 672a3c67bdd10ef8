"""What many pages show at the same time is read once for all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from sbm.runtime.places import Places
from sbm.runtime.threads import shielded

Read = TypeVar("Read")

# How old what was read may be, in seconds.
FRESH_SECONDS = 1.0


@define(eq=False, kw_only=True)
class SharedReading(Generic[Read]):
    """What ``read`` returns, at most FRESH_SECONDS older than the question, by the reactor's clock.

    However slow it is, all who wait get the same: who has come before it began, or just after.
    """

    _reactor: Any
    _read: Callable[[], Awaitable[Read]]
    _found: tuple[float, Read] | None = field(default=None, init=False)
    _lock: Places = field(factory=lambda: Places(1), init=False)

    async def get(self) -> Read:
        """Read it, unless it was read just now, or is being read.

        It is read to the end even if its reader leaves: whoever comes next waits for the same.
        """
        return await shielded(Deferred.fromCoroutine(self._get()))

    async def _get(self) -> Read:
        came_at = self._reactor.seconds()
        await self._lock.acquire()
        try:
            if self._found is None or came_at - self._found[0] > FRESH_SECONDS:
                began_at = self._reactor.seconds()
                self._found = began_at, await self._read()
            return self._found[1]
        finally:
            self._lock.release()
