"""Twisted's way to make HTTP requests (``IAgent``), over pooled connections of our own.

``twisted.web.client.Agent`` costs four times as much, and does not say whether a request was begun.
Decision 0102 has the figures.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from sbm.clients.certificates import check_certificate
from sbm.clients.http_connection import MAX_BODY_BYTES, HttpConnection, NotBegun
from sbm.clients.outcomes import HeldBack

# What may stand on the wire; no blank, no line end and no fragment.
_METHOD = re.compile(rb"[A-Z]+")
_ROOT = re.compile(rb"https?://[!-\"$-.0->A-~]+")
_TARGET = re.compile(rb"/[!-\"$-~]*")

_METHODS_WITH_BODY = {b"PATCH", b"POST", b"PUT"}

# Headers that the agent writes itself: they follow from the address and the body.
_OWN_HEADERS = {b"connection", b"content-length", b"host", b"transfer-encoding"}


class PreparedHeaders(Headers):
    """The headers of many requests, written out once. They must not be changed after that."""

    _written: bytes | None = None

    def lines(self) -> bytes:
        """The headers as they stand in a request."""
        if self._written is None:
            self._written = _lines(self)
        return self._written


@implementer(IBodyProducer)
@define(eq=False, kw_only=True)
class PreparedBody:
    """A body that is there already, for a request that ``begin()`` allows at the last moment."""

    data: bytes
    begin: Callable[[], bool]

    @property
    def length(self) -> int:
        return len(self.data)

    def take(self) -> bytes:
        """The whole body. Raises HeldBack if the request must not be begun any more."""
        if not self.begin():
            raise HeldBack("no time was left")
        return self.data

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.take())
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body was written at once."""

    resumeProducing = stopProducing = pauseProducing


@define(eq=False, kw_only=True)
class _Chunks:
    """Takes a body from a producer that is never paused (IConsumer)."""

    written: list[bytes] = field(factory=list)

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Do nothing."""

    def unregisterProducer(self) -> None:
        """Do nothing."""


class QuietFactory(Factory):
    """Makes connections, without two lines in the log for each."""

    noisy = False


@define(eq=False, kw_only=True)
class _Destination:
    """A scheme, host and port, with its idle connections: the last one was used last."""

    host: bytes
    name: str
    endpoint: Any
    idle: deque[HttpConnection] = field(factory=deque)


@implementer(IAgent)
@define(eq=False, kw_only=True)
class HttpAgent:
    """Makes requests over connections that are kept alive.

    At most ``connections`` idle connections are kept for each destination, each for ``keep_alive``
    seconds. No redirect is followed, no cookie is kept, and no request is repeated.
    """

    _reactor: Any
    _connections: int
    _keep_alive: float
    _destinations: dict[bytes, _Destination] = field(init=False, factory=dict)
    _policy: BrowserLikePolicyForHTTPS = field(init=False, factory=BrowserLikePolicyForHTTPS)
    _closing: Any = field(init=False, default=None)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803
        *,
        most_bytes: int = MAX_BODY_BYTES,
    ) -> Deferred[IResponse]:
        """Fires with a whole answer (HttpAnswer), whose body has at most ``most_bytes``.

        The whole body is taken from ``bodyProducer`` when there is a connection, just before the
        request is written. If its ``startProducing`` fails, nothing is written.

        Fails with NotBegun if surely no byte of the request was written, and otherwise as
        ``HttpConnection.request`` does. If the Deferred is cancelled, the connection is aborted.
        Raises ValueError if the method or the URI would not be one on the wire.
        """
        start = uri.find(b"/", len(b"https://"))
        root, target = (uri[:start], uri[start:]) if start > 0 else (uri, b"/")
        if not (_METHOD.fullmatch(method) and _TARGET.fullmatch(target)):
            raise ValueError(f"no request: {method!r} {uri!r}")
        destination = self._destinations.get(root) or self._new_destination(root)
        lines = headers.lines() if isinstance(headers, PreparedHeaders) else _lines(headers)
        head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b" % (method, target, destination.host, lines)
        connection = self._take(destination)
        if connection is not None:
            return _begin(connection, method, head, bodyProducer, most_bytes)
        return self._connect(destination).addCallbacks(
            _begin, _not_begun, callbackArgs=(method, head, bodyProducer, most_bytes)
        )

    def close(self) -> Deferred[None]:
        """Close the idle connections. Fires when they are closed."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        idle = [
            connection
            for destination in self._destinations.values()
            for connection in destination.idle
        ]
        for destination in self._destinations.values():
            destination.idle.clear()  # a request must not use a connection that is being closed
        closed: Deferred[Any] = gatherResults([connection.close() for connection in idle])
        return closed.addCallback(lambda _: None)

    def _new_destination(self, root: bytes) -> _Destination:
        if not _ROOT.fullmatch(root):
            raise ValueError(f"no address of HTTP: {root!r}")
        uri = URI.fromBytes(root)
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host.decode(), uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        destination = self._destinations[root] = _Destination(
            host=uri.netloc, name=uri.host.decode(), endpoint=endpoint
        )
        return destination

    def _take(self, destination: _Destination) -> HttpConnection | None:
        """The idle connection that was used last, unless it has been idle for too long."""
        oldest = self._reactor.seconds() - self._keep_alive
        while destination.idle:
            connection = destination.idle.pop()
            if connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def _connect(self, destination: _Destination) -> Deferred[HttpConnection]:
        factory = QuietFactory.forProtocol(
            partial(
                HttpConnection,
                idle=partial(self._keep, destination),
                gone=partial(_forget, destination),
                check=partial(check_certificate, host=destination.name),
            )
        )
        connected: Deferred[Any] = destination.endpoint.connect(factory)
        return connected.addCallback(lambda connection: connection.ready)

    def _keep(self, destination: _Destination, connection: HttpConnection) -> None:
        if len(destination.idle) >= self._connections:
            connection.close()
            return
        connection.idle_since = self._reactor.seconds()
        destination.idle.append(connection)
        if self._closing is None:
            self._closing = self._reactor.callLater(self._keep_alive, self._close_the_oldest)

    def _close_the_oldest(self) -> None:
        """Close the connections that have been idle for too long, and look again later."""
        now = self._reactor.seconds()
        self._closing = None
        for destination in self._destinations.values():
            while destination.idle and destination.idle[0].idle_since + self._keep_alive <= now:
                destination.idle.popleft().close()
        first = min(
            (d.idle[0].idle_since for d in self._destinations.values() if d.idle), default=None
        )
        if first is not None:
            self._closing = self._reactor.callLater(
                first + self._keep_alive - now, self._close_the_oldest
            )


def _forget(destination: _Destination, connection: HttpConnection) -> None:
    """Remove a connection that cannot be used any more, if it was idle."""
    with suppress(ValueError):
        destination.idle.remove(connection)


def _begin(
    connection: HttpConnection,
    method: bytes,
    head: bytes,
    producer: IBodyProducer | None,
    most_bytes: int,
) -> Deferred[Any]:
    """Take the body, and write the request in the same callback."""
    if producer is None:
        length = b"Content-Length: 0\r\n" if method in _METHODS_WITH_BODY else b""
        return connection.request(
            head + length + b"\r\n", has_no_body=method == b"HEAD", most_bytes=most_bytes
        )
    if isinstance(producer, PreparedBody):  # no callbacks, since this is the way of each send
        try:
            body = producer.take()
        except HeldBack as error:
            connection.leave()
            return fail(NotBegun(error))
        except Exception as error:
            connection.abort()
            return fail(NotBegun(error))
        return connection.request(_with_body(head, body), most_bytes=most_bytes)
    chunks = _Chunks()
    produced: Deferred[None] = maybeDeferred(producer.startProducing, chunks)
    return produced.addCallbacks(
        lambda _: connection.request(
            _with_body(head, b"".join(chunks.written)), most_bytes=most_bytes
        ),
        _not_produced,
        errbackArgs=(connection,),
    )


def _with_body(head: bytes, body: bytes) -> bytes:
    """The whole request."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def _not_produced(reason: Failure, connection: HttpConnection) -> Failure:
    connection.abort()
    return _not_begun(reason)


def _not_begun(reason: Failure) -> Failure:
    assert reason.value is not None
    return Failure(NotBegun(reason.value))


def _lines(headers: Headers | None) -> bytes:
    """The headers as they stand in a request. ``Headers`` lets no line end into them."""
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, values in (headers.getAllRawHeaders() if headers is not None else ())
        if name.lower() not in _OWN_HEADERS
        for value in values
    )
