"""Connections to other services: when a request was begun, and how a body is read.

All that is private to Twisted, and used here, stands in this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, IWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web.client import HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from sbm.clients.outcomes import AnswerTooLong, HeldBack

MAX_BODY_BYTES = 4 * 1024 * 1024


@implementer(IHandshakeListener)
class Connection(HTTP11ClientProtocol):
    """A connection that knows whether anything but a TLS handshake can have been written to it."""

    is_open_for_requests = False
    is_aborted = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.is_open_for_requests = not ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        self.is_open_for_requests = True

    def request(self, request: Any) -> Any:
        """Write it now, not in a later turn of the reactor.

        Between the last look at a lease and the first byte there is otherwise a turn, in which a
        process is likely to be when it is stopped. Over TLS there still is.
        """
        answer = super().request(request)
        transport: Any = self.transport
        if IWriteDescriptor.providedBy(transport):
            transport.doWrite()
        return answer

    def abort_at_once(self) -> None:
        """End the connection; what a body is read from could only close it politely."""
        self.is_aborted = True
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


@implementer(IBodyProducer)
@define(eq=False, kw_only=True)
class BytesProducer:
    """A body that is written at once, with the headers."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to be paused, resumed or stopped."""

    resumeProducing = stopProducing = pauseProducing


class _Connections(_HTTP11ClientFactory):
    """Makes them, without two lines in the log for every one."""

    noisy = False

    def buildProtocol(self, _addr: Any) -> Any:
        protocol: Any = Connection
        return protocol(self._keep)

    def _keep(self, connection: Connection) -> None:
        # The answer that it was aborted for may have been complete by then.
        if not connection.is_aborted:
            self._quiescentCallback(connection)


class Pool(HTTPConnectionPool):
    """Keeps such connections."""

    _factory = _Connections


@define(eq=False, kw_only=True)
class Gate:
    """The pool, for one request: the last moment at which a request can still be held back.

    What comes before it (resolving, connecting, waiting) was surely no request. A request that is
    handed to a connection whose TLS handshake then fails was never written.
    """

    pool: HTTPConnectionPool
    begin: Callable[[], bool]
    connection: Any = None
    persistent: bool = True  # as the pool is

    @property
    def begun(self) -> bool:
        return self.connection is not None and self.connection.is_open_for_requests

    def getConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        return self.pool.getConnection(key, endpoint).addCallback(self._pass)

    def _pass(self, connection: Any) -> Any:
        if not self.begin():
            connection.abort()
            raise HeldBack("no time was left")
        self.connection = connection
        return connection


async def read_body(response: Any, abort: Callable[[], None]) -> bytes:
    """The whole body; a connection that breaks off, is cut off, or sends too much is an error."""
    finished: Deferred[bytes] = Deferred(lambda _: abort())
    response.deliverBody(_Reader(finished=finished, abort=abort))
    return await finished


_DONE = Failure(ResponseDone())


@define(eq=False, slots=False, kw_only=True)
class _Reader(Protocol):
    """Collects a body of at most MAX_BODY_BYTES."""

    finished: Deferred[bytes] = field(kw_only=True)
    abort: Callable[[], None] = field(kw_only=True)
    chunks: list[bytes] = field(factory=list)
    size: int = 0

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)
        self.chunks.append(data)
        if self.size > MAX_BODY_BYTES:
            self.abort()

    def connectionLost(self, reason: Failure = _DONE) -> None:
        if self.finished.called:
            return
        if self.size > MAX_BODY_BYTES:
            self.finished.errback(AnswerTooLong(f"an answer of more than {MAX_BODY_BYTES} bytes"))
        elif reason.check(ResponseDone):
            self.finished.callback(b"".join(self.chunks))
        else:
            self.finished.errback(reason)
