"""A connection of a client, who may be slow, broken or hostile: everything about it has a limit.

Times are absolute: a client that sends a byte now and then gains nothing by it.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.web.http import RESPONSES, HTTPChannel, datetimeToString
from zope.interface import implementer

from sbm.web.http.errors import Reason
from sbm.web.http.origin import fault_of_host
from sbm.web.http.targets import plain_target
from sbm.web.http.wire import compact_json

# A connection is read in small pieces: the smallest chunks that a piece of a body can be made of
# are then done with in a few milliseconds.
READ_BYTES = 2**12

# What was taken for a method before us, too: no lower case.
_METHOD = re.compile(rb"[A-Z0-9$_.-]{3,20} ")

UNREADABLE = "The request cannot be read."
SLOW = "The request took too long to arrive."
INCOMPLETE = "The request ended before it was complete."


@frozen(kw_only=True)
class Limits:
    """What clients may take.

    Bytes of the request line, of one header and of all of them. Seconds from the first byte of a
    request to the end of its headers, from there to the end of its body, from there to the end of
    the answer; between two requests; and for a client to hang up whose request was not read.
    """

    connections: int = 400
    line_bytes: int = 4094
    header_bytes: int = 8190
    headers_bytes: int = 2**15
    headers: int = 100
    header_seconds: float = 20
    body_seconds: float = 60
    upload_seconds: float = 900
    answer_seconds: float = 900
    idle_seconds: float = 75
    linger_seconds: float = 15


class Phase(IntEnum):
    """Where a connection is; the first are given up first where there are too many."""

    IDLE = 0
    CLOSING = 1
    HEADERS = 2
    BODY = 3
    ANSWER = 4


@implementer(IHalfCloseableProtocol)
class BoundedChannel(HTTPChannel):
    """An HTTP/1 connection within limits, which answers in JSON even what is no request.

    ``site`` is the QuietSite that it belongs to.
    """

    site: Any
    limits: Limits
    transport: Any
    phase = Phase.IDLE
    since = 0.0

    _networkProducer: Any
    _deadline: Any = None
    _is_deaf = False
    _is_lost = False
    _is_retiring = False
    _has_ended = False
    _is_abandoned = False
    _at_start = True
    _owes_continue = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._holders: set[object] = set()

    @property
    def is_working(self) -> bool:
        """Whether an answer is being worked out, of which nothing has been sent yet.

        Not for a client that sends no more: it may have given up.
        """
        if self._has_ended:
            return False
        return self.phase is Phase.ANSWER and not any(one.startedWriting for one in self.requests)

    @property
    def target(self) -> tuple[bytes, bytes]:
        """Method and target of the request that is being read."""
        return self._command, self._path

    # The life of a connection

    def connectionMade(self) -> None:
        self.MAX_LENGTH = max(self.limits.line_bytes, self.limits.header_bytes)
        self.totalHeadersSize = self.limits.headers_bytes
        self.maxHeaders = self.limits.headers
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = READ_BYTES
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._enter(Phase.IDLE, self.limits.header_seconds)

    def connectionLost(self, reason: Any = None) -> None:
        self._is_lost = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if not self._is_abandoned:
            self._count_cut_off("client")
        self.site.forget(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """Close once all is sent; whoever is still sending may go on until she has read it."""
        if self.phase is Phase.CLOSING or self._is_lost:
            return
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if self._is_deaf and not self._has_ended and half_close is not None:
            self._enter(Phase.CLOSING, self.limits.linger_seconds)
            self._networkProducer.unregisterProducer()
            self.transport.resumeProducing()
            half_close()
        else:
            self._enter(Phase.CLOSING, self.limits.idle_seconds)
            super().loseConnection()  # type: ignore[no-untyped-call]

    def readConnectionLost(self) -> None:
        """The client sends no more, and may still read: what it has asked for is answered.

        Called again whenever reading is resumed.
        """
        self._has_ended = True
        self._end_if_over()

    def writeConnectionLost(self) -> None:
        """All is sent; the client is waited for."""

    def _end_if_over(self) -> None:
        """Close the connection of a client that sends no more, unless it is being answered.

        Nor while what has come is not read: that reading is resumed calls this again.
        """
        if not self._has_ended or self._is_lost or self._holders:
            return
        if self.phase in (Phase.HEADERS, Phase.BODY):
            self.refuse(400, INCOMPLETE, kind="incomplete")
        elif self.phase is Phase.IDLE:
            self.loseConnection()
        elif self.phase is Phase.CLOSING:
            self.transport.loseConnection()

    def abandon(self, cause: str) -> None:
        """Close at once, whatever is under way, for this cause."""
        self._count_cut_off(cause)
        self._is_abandoned = True
        self.transport.abortConnection()

    def _count_cut_off(self, cause: str) -> None:
        if self.phase is Phase.ANSWER and self.requests:
            self.site.refusals.cut_off(self.requests[0].path, cause)
        elif self.phase in (Phase.HEADERS, Phase.BODY) and not self._is_deaf:
            self.site.refusals.cut_off(self._target_being_read, cause)

    def retire(self) -> None:
        """Close as soon as nothing is under way; a request that has come already is read first."""
        self._is_retiring = True
        if self.phase not in (Phase.IDLE, Phase.HEADERS):  # the next line would be dropped
            self.persistent = False
        self.site.reactor.callLater(0, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.phase is Phase.IDLE and not self._is_lost:
            self.loseConnection()

    def _enter(self, phase: Phase, seconds: float) -> None:
        self.phase, self.since = phase, self.site.reactor.seconds()
        if self._deadline is not None and self._deadline.active():
            self._deadline.reset(seconds)
        else:
            self._deadline = self.site.reactor.callLater(seconds, self._overdue)

    def _overdue(self) -> None:
        if self.phase in (Phase.HEADERS, Phase.BODY):
            self.refuse(408, SLOW, kind="slow")
        elif self.phase is Phase.IDLE:
            self.loseConnection()
        else:
            self.abandon("time")

    # Reading a request

    def dataReceived(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self.phase is Phase.IDLE and data:
            self._enter(Phase.HEADERS, self.limits.header_seconds)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        if self._is_deaf:
            return
        if self._at_start and len(line) > self.limits.line_bytes:
            self._refuse_line(len(line))
        elif self._at_start and line and not _METHOD.match(line):
            self._refuse_unreadable()
        elif len(line) > self.limits.header_bytes:
            self._refuse_header()
        elif not self._at_start and line[:1] in (b" ", b"\t"):
            self._refuse_unreadable()  # a folded header, which others may read otherwise
        else:
            self._at_start = self._at_start and not line
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:
        if self._at_start:
            self._refuse_line(len(line))
        else:
            self._refuse_header()

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value) > 24 and value.strip().isdigit():
            self.refuse(413, "The body is too large.", kind="too-large")
            return False
        return bool(super().headerReceived(line))  # type: ignore[no-untyped-call]

    def allHeadersReceived(self) -> None:
        if self._version == b"HTTP/1.0" and self.requests[-1].requestHeaders.hasHeader(
            b"transfer-encoding"
        ):
            self._refuse_unreadable()
            self.length = None  # which means: what comes is no request
            return
        headers = self.requests[-1].requestHeaders
        fault = fault_of_host(headers, is_needed=self._version == b"HTTP/1.1")
        if fault:
            self.refuse(400, fault, kind="host")
            self.length = None
            return
        super().allHeadersReceived()  # type: ignore[no-untyped-call]
        request = self.requests[-1]
        if self._is_retiring:
            self._will_close()
        seconds = self.limits.upload_seconds if request.upload else self.limits.body_seconds
        self._enter(Phase.BODY, seconds)
        if request.is_refused and self.length != 0:
            self._stop_reading()
            self.length = 0
            self._transferDecoder = None

    def rawDataReceived(self, data: bytes) -> None:
        if self._is_deaf:
            return
        super().rawDataReceived(data)
        if not self._handlingRequest and self.requests and self.requests[-1].is_refused:
            self.answer_now()

    def allContentReceived(self) -> None:
        self._at_start = True
        self._enter(Phase.ANSWER, self.limits.answer_seconds)
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        """Go on with what was sent meanwhile, but not before everybody else had her turn."""
        self.paused = True
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if not self.persistent:
            return
        if self._buffer:
            self._enter(Phase.HEADERS, self.limits.header_seconds)
            self.hold("turn")
            self.site.reactor.callLater(0, self._take_turn)
        else:
            self.paused = False
            self._enter(Phase.IDLE, self.limits.idle_seconds)
            self._end_if_over()

    def _take_turn(self) -> None:
        if not self._is_lost:
            self.paused = False
            self.release("turn")
            self.dataReceived(b"")
            self._end_if_over()

    # Refusals

    def answer_now(self) -> None:
        """Answer the request though its body is not read; the rest of it is dropped."""
        if self._is_deaf or self._is_lost or self._handlingRequest:
            return
        self._stop_reading()
        self.allContentReceived()

    def refuse(self, status: int, detail: str, *, kind: str) -> None:
        """Answer what is no request, or none that could be handled, and close."""
        if self._is_deaf or self._is_lost:
            return
        self.site.refusals.refused(self._target_being_read, status, Reason(kind=kind))
        self._stop_reading()
        self.transport.write(refusal(status, detail))
        self.loseConnection()

    def _refuse_line(self, length: int) -> None:
        limit = self.limits.line_bytes
        self.refuse(400, f"Request Line is too large ({length} > {limit})", kind="line-too-long")

    def _refuse_header(self) -> None:
        self.refuse(400, "A header is too large.", kind="header-too-large")

    def _refuse_unreadable(self) -> None:
        self.refuse(400, UNREADABLE, kind="unreadable")

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse_unreadable()

    @property
    def _target_being_read(self) -> bytes | None:
        """The target of the request that is being read, once its first line is."""
        path = getattr(self, "_path", None)
        return None if path is None else plain_target(self._command, path)

    def _stop_reading(self) -> None:
        self._is_deaf = True
        self._holders.clear()
        self._will_close()
        self._networkProducer.resumeProducing()

    def _will_close(self) -> None:
        self.persistent = False
        for request in self.requests[-1:]:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _send100Continue(self) -> None:
        request = self.requests[-1]
        if request.is_refused or self.length == 0:
            return
        if request.is_waiting:
            self._owes_continue = True
        else:
            super()._send100Continue()  # type: ignore[no-untyped-call]

    def send_owed_continue(self) -> None:
        """Let the client go on who asked whether to."""
        if self._owes_continue and not self._is_deaf and not self._is_lost:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._owes_continue = False

    # The rhythm of reading

    def hold(self, holder: object) -> None:
        """Read no more, until each that held has released."""
        if not self._is_deaf and not self._is_lost:
            self._holders.add(holder)
            self._networkProducer.pauseProducing()

    def release(self, holder: object) -> None:
        """Read on, unless others hold."""
        if holder in self._holders:
            self._holders.discard(holder)
            if not self._holders and not self._waitingForTransport and not self._is_lost:
                self._networkProducer.resumeProducing()

    def resumeProducing(self) -> None:
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._holders:
            self._networkProducer.pauseProducing()


def refusal(status: int, detail: str) -> bytes:
    """A whole response, after which the connection is closed."""
    body = compact_json({"detail": detail})
    headers = {
        b"Date": datetimeToString(),
        b"Connection": b"close",
        b"Content-Type": b"application/json",
        b"Content-Length": b"%d" % len(body),
    }
    lines = [b"%s: %s" % header for header in headers.items()]
    start = b"HTTP/1.1 %d %s" % (status, RESPONSES[status])
    return b"\r\n".join([start, *lines, b"", body])
