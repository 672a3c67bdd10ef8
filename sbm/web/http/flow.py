"""Long bodies, written no faster than the client takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
@define(eq=False, slots=False)
class Flow:
    """The producer of a request's body: its writer waits while the client has enough."""

    _rest: Deferred[None] | None = field(default=None, init=False)

    @contextmanager
    def of(self, request: Any) -> Iterator[None]:
        """Be the producer of a request for so long."""
        request.registerProducer(self, True)
        try:
            yield
        finally:
            if request.channel is not None:
                request.unregisterProducer()

    async def ready(self) -> None:
        """Wait until the client takes more."""
        if self._rest is not None:
            await self._rest

    def pauseProducing(self) -> None:
        if self._rest is None:
            self._rest = Deferred()

    def resumeProducing(self) -> None:
        if self._rest is not None:
            rest, self._rest = self._rest, None
            rest.callback(None)

    def stopProducing(self) -> None:
        """The client has gone: end the coroutine that writes the body."""
