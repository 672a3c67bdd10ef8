"""One HTTP/1.1 connection, whose answers are parsed by llhttp and read whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHandshakeListener,
    IPushProducer,
    ISSLTransport,
    IWriteDescriptor,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from sbm.clients.outcomes import AnswerTooLong

# The longest body that any question is answered with. Each request has its own limit, up to this.
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
MAX_INTERIM_ANSWERS = 20

# The framing of a chunked body may be as long as the body itself, and no longer. What is not body
# may always be as long as a head.
_FRAMED = 2

_LOST = Failure(ConnectionDone())


class NotBegun(Exception):
    """No byte of the request was written. ``reason`` says why."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _accept(_transport: Any) -> None:
    """Check nothing: there is no TLS."""


@implementer(IPushProducer)
class _AllDelivered:
    """The transport of a body that was read before it was asked for."""

    def pauseProducing(self) -> None:
        """Do nothing: there is no more to come."""

    resumeProducing = stopProducing = loseConnection = pauseProducing


@implementer(IResponse)
@define(eq=False, kw_only=True)
class HttpAnswer:
    """A complete answer. ``deliverBody`` delivers the body at once."""

    http_version: str
    code: int
    phrase: bytes
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes
    request: Any = None
    previousResponse: Any = None

    @property
    def version(self) -> tuple[bytes, int, int]:
        """As in "HTTP/1.1"."""
        major, minor = self.http_version.split(".")
        return b"HTTP", int(major), int(minor)

    @property
    def headers(self) -> Headers:
        """The headers, without the trailers of a chunked body."""
        headers = Headers()
        for name, value in self.raw_headers:
            headers.addRawHeader(name, value)
        return headers

    @property
    def length(self) -> int:
        return len(self.body)

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:
        protocol.makeConnection(_AllDelivered())
        if self.body:
            protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))


@implementer(IHandshakeListener)
@define(eq=False, repr=False, slots=False, kw_only=True)
class HttpConnection(Protocol):
    """A connection that carries one request at a time.

    ``ready`` fires when a request can be written. Over TLS, that is after the handshake, and after
    ``check``, which raises an error if the certificate in this transport is not that of the host.
    ``closed`` fires when the connection is gone. ``idle`` is called each time when the connection
    can be used for another request, and ``gone`` when an idle connection cannot be used any more.

    The callbacks of the parser are methods of the connection itself, so that a request needs no
    object of its own.
    """

    _idle: Callable[[HttpConnection], None]
    _gone: Callable[[HttpConnection], None]
    _check: Callable[[Any], None] = _accept
    idle_since: float = 0.0
    ready: Deferred[HttpConnection] = field(init=False)
    closed: Deferred[None] = field(init=False, factory=Deferred)
    _answer: Deferred[HttpAnswer] | None = field(init=False, default=None)
    _parser: Any = field(init=False, default=None)
    _writes_at_once: bool = field(init=False, default=False)
    _is_written: bool = field(init=False, default=True)
    _has_no_body: bool = field(init=False, default=False)
    _most_bytes: int = field(init=False, default=MAX_BODY_BYTES)
    _interim_answers: int = field(init=False, default=0)
    _received: int = field(init=False, default=0)
    _code: int = field(init=False, default=0)
    _phrase: bytes = field(init=False, default=b"")
    _headers: list[tuple[bytes, bytes]] = field(init=False, factory=list)
    _body: bytearray = field(init=False, factory=bytearray)
    _has_headers: bool = field(init=False, default=False)
    _is_complete: bool = field(init=False, default=False)
    _has_surplus: bool = field(init=False, default=False)
    _keeps_alive: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.ready = Deferred(lambda _: self.abort())

    def connectionMade(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._writes_at_once = bool(IWriteDescriptor.providedBy(self.transport))
        if not ISSLTransport.providedBy(self.transport):
            self.ready.callback(self)
        else:
            # It claims to be all that the TCP below it is, but it has to encrypt first.
            self._writes_at_once = False

    def handshakeCompleted(self) -> None:
        # A peer can make the parser of TLS report a handshake again.
        if self.ready.called:
            return
        try:
            self._check(self.transport)
        except Exception:
            self.ready.errback()
            self.abort()
        else:
            self.ready.callback(self)

    def request(
        self, request: bytes, *, has_no_body: bool = False, most_bytes: int = MAX_BODY_BYTES
    ) -> Deferred[HttpAnswer]:
        """Write a whole request now; fires with the whole answer, of ``most_bytes`` at most.

        Fails with NotBegun if surely no byte was written, and with ResponseFailed if the answer is
        not complete: ResponseNeverReceived if there was none. Its reason is PotentialDataLoss if
        only the end of the connection ends the body, since a broken connection looks the same.
        Fails with AnswerTooLong beyond the limits; but if the status is that of an error, the body
        is cut there. If the Deferred is cancelled, the connection is
        aborted.
        """
        answer: Deferred[HttpAnswer] = Deferred(self._cancel)
        self._answer = answer
        self._has_no_body = has_no_body
        self._most_bytes = most_bytes
        self._received = self._interim_answers = 0
        self._headers, self._body = [], bytearray()
        self._has_headers = self._is_complete = self._has_surplus = self._keeps_alive = False
        self._write(request)
        return answer

    def _write(self, request: bytes) -> None:
        """Write the request now, not in the next iteration of the reactor.

        The lease was checked just before. A process is likely to be stopped between two iterations,
        and would then write the request when the lease has expired. Over TLS, this can still
        happen.
        """
        transport: Any = self.transport
        if not self._writes_at_once:
            transport.write(request)
            return
        # Nothing waits in the buffer of the transport: it belongs to a new connection, or to one
        # that wrote its last request whole.
        written = transport.writeSomeData(request)
        if not isinstance(written, int):
            self._fail(NotBegun(written))
        elif written < len(request):
            self._is_written = False
            transport.write(request[written:])

    def dataReceived(self, data: bytes) -> None:
        if self._answer is None:
            self._gone(self)  # nobody asked; the next request must not use it
            self.abort()
            return
        self._received += len(data)
        problem: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            problem = error
        excess = self._excess()
        if excess is not None and self._has_headers and self._code >= 300:
            del self._body[self._most_bytes :]
            self._finish(reusable=False)
        elif excess is not None:
            self._fail(excess)
        elif self._is_complete:
            self._finish(reusable=problem is None)
        elif problem is not None:
            self._fail(ResponseFailed([Failure(problem)]))

    def _excess(self) -> AnswerTooLong | None:
        """Which limit the answer exceeds."""
        if len(self._body) > self._most_bytes:
            return AnswerTooLong(f"an answer of more than {self._most_bytes} bytes")
        if self._interim_answers > MAX_INTERIM_ANSWERS:
            return AnswerTooLong(f"more than {MAX_INTERIM_ANSWERS} interim answers", kind="interim")
        if len(self._headers) > MAX_HEADERS:
            return AnswerTooLong(f"more than {MAX_HEADERS} headers", kind="headers")
        if self._received > MAX_HEAD_BYTES + _FRAMED * len(self._body):
            return AnswerTooLong(
                f"headers, or what is around a body, of more than {MAX_HEAD_BYTES} bytes",
                kind="headers",
            )
        return None

    def connectionLost(self, reason: Failure = _LOST) -> None:
        # The parser holds methods of this object: without this, both wait for the garbage
        # collector.
        self._parser = None
        if not self.ready.called:
            self.ready.errback(reason)
            # Nobody waits for an attempt to connect that was cancelled.
            self.ready.addErrback(lambda _: None)
        if self._answer is not None:
            if self._has_headers and not self._tells_its_length():
                reason = Failure(PotentialDataLoss())
            reasons = [reason]
            self._fail(
                ResponseFailed(reasons) if self._received else ResponseNeverReceived(reasons)
            )
        self._gone(self)
        self.closed.callback(None)

    def leave(self) -> None:
        """Be idle again, without a request."""
        self._idle(self)

    def close(self) -> Deferred[None]:
        """Close an idle connection. Fires when it is closed.

        Over TLS, it is aborted: else a peer that does not answer would keep it open for ever.
        """
        transport: Any = self.transport
        if self._writes_at_once:
            transport.loseConnection()
        else:
            transport.abortConnection()
        return self.closed

    def abort(self) -> None:
        """Close the connection without waiting for the other side."""
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()

    # What llhttp calls, in the order of an answer

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._has_surplus = True
        else:
            self._phrase = b""

    def on_status(self, phrase: bytes) -> None:
        if not self._is_complete:
            self._phrase += phrase  # it may come in parts

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_headers and len(self._headers) <= MAX_HEADERS:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_complete:
            return
        self._code = self._parser.get_status_code()
        if self._is_interim():
            return
        self._has_headers = True
        self._is_complete = self._has_no_body

    def on_body(self, data: bytes) -> None:
        if not self._is_complete:
            self._body += data

    def on_message_complete(self) -> None:
        if self._is_complete:
            return
        if self._is_interim():
            self._interim_answers += 1
            self._headers.clear()
        else:
            self._is_complete = True
            self._keeps_alive = self._parser.should_keep_alive()

    def _is_interim(self) -> bool:
        """Whether the final answer is still to come."""
        return 100 <= self._code < 200

    def _tells_its_length(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return not names.isdisjoint((b"content-length", b"transfer-encoding"))

    def _finish(self, *, reusable: bool) -> None:
        answer, self._answer = self._answer, None
        assert answer is not None
        body, self._body = bytes(self._body), bytearray()
        complete = HttpAnswer(
            http_version=self._parser.get_http_version(),
            code=self._code,
            phrase=self._phrase,
            raw_headers=self._headers,
            body=body,
        )
        if reusable and self._keeps_alive and self._is_written and not self._has_surplus:
            self._idle(self)
        else:
            self.abort()
        answer.callback(complete)

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        self._body = bytearray()
        self.abort()
        if answer is not None:
            answer.errback(error)

    def _cancel(self, _answer: Any) -> None:
        self._fail(ResponseFailed([Failure(CancelledError())]))
