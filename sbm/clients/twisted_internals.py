"""HTTP connections that know when a request was begun, and read a body up to a limit.

The private parts of Twisted that the clients use are all imported in this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, IWriteDescriptor
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, RequestNotSent
from twisted.web.client import HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from sbm.clients.outcomes import AnswerTooLong, HeldBack

MAX_BODY_BYTES = 4 * 1024 * 1024


@implementer(IHandshakeListener)
class HttpConnection(HTTP11ClientProtocol):
    """A connection that knows whether more than a TLS handshake can have been written to it."""

    is_open_for_requests = False
    is_aborted = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self.is_open_for_requests = not ISSLTransport.providedBy(self.transport)

    def handshakeCompleted(self) -> None:
        self.is_open_for_requests = True

    def request(self, request: Any) -> Any:
        """Write the request now, not in the next iteration of the reactor.

        The lease was checked just before. A process is likely to be stopped between two iterations,
        and would then write the request when the lease has expired. Over TLS, this can still
        happen.
        """
        answer = super().request(request)
        transport: Any = self.transport
        if IWriteDescriptor.providedBy(transport):
            transport.doWrite()
        return answer

    def abort_at_once(self) -> None:
        """Close the connection without waiting for the other side."""
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
        """Do nothing: the body was written at once."""

    resumeProducing = stopProducing = pauseProducing


class _ConnectionFactory(_HTTP11ClientFactory):
    """Makes these connections, without two lines in the log for each."""

    noisy = False

    def buildProtocol(self, _addr: Any) -> Any:
        protocol: Any = HttpConnection
        return protocol(self._keep)

    def _keep(self, connection: HttpConnection) -> None:
        # An answer may be complete just when its connection is aborted.
        if not connection.is_aborted:
            self._quiescentCallback(connection)


class Pool(HTTPConnectionPool):
    """A pool of these connections."""

    _factory = _ConnectionFactory


@define(eq=False, kw_only=True)
class Gate:
    """The pool for one request, which asks ``begin()`` at the last moment before the request.

    If the request fails before that (while it resolves, connects or waits), the request was surely
    not written. The same is true if the TLS handshake fails after that.
    """

    pool: HTTPConnectionPool
    begin: Callable[[], bool]
    connection: Any = None
    persistent: bool = True  # the same as the pool

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


def was_not_sent(error: BaseException) -> bool:
    """Whether Twisted says that it has not written the request."""
    return isinstance(error, RequestNotSent)


async def read_body(response: Any, abort: Callable[[], None]) -> bytes:
    """The whole body. It is an error if the connection is lost, or if the body is too large."""
    finished: Deferred[bytes] = Deferred(lambda _: abort())
    response.deliverBody(_BodyReader(finished=finished, abort=abort))
    return await finished


_DONE = Failure(ResponseDone())


@define(eq=False, slots=False, kw_only=True)
class _BodyReader(Protocol):
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
