"""Long bodies, written no faster than the client takes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from sbm.web.http.http_errors import reason_of

_log = Logger()


@implementer(IPushProducer)
@define(eq=False, slots=False)
class Flow:
    """The producer of a request's body: its writer waits while the client has enough."""

    _rest: Deferred[None] | None = field(default=None, init=False)

    @contextmanager
    def of(self, request: Any) -> Iterator[None]:
        """Be the producer of a request for so long.

        If its body cannot be written to its end, the connection is closed, so that the client
        notices that something is missing: the status was told before.
        """
        request.registerProducer(self, True)
        try:
            yield
        except CancelledError:
            raise  # the client has gone
        except Exception as error:
            reason = reason_of(error)
            if reason.failure is not None:
                _log.failure("an answer was not written to its end", failure=reason.failure)
            request.channel.abandon(reason.kind)
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
