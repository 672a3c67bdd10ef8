"""A connection of a client. The client may be slow, broken or hostile, so there are limits.

Times are absolute: a client does not get more time if it sends a byte now and then.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from sbm.model.author import new_request_id
from sbm.web.http.answer_headers import complete, refusal
from sbm.web.http.authors import request_id_of
from sbm.web.http.body_limits import TinyChunks
from sbm.web.http.connection_limits import DROPPED_BYTES, READ_BYTES, Limits, Phase
from sbm.web.http.held_channel import HeldChannel
from sbm.web.http.http_errors import Reason
from sbm.web.http.origin import fault_of_host, fault_of_target
from sbm.web.http.overload import CROWDED
from sbm.web.http.targets import is_probe, plain_target

# The methods that the old service accepts, too: no lower case.
_METHOD = re.compile(rb"[A-Z0-9$_.-]{3,20} ")

UNREADABLE = "The request cannot be read."
SLOW = "The request took too long to arrive."
INCOMPLETE = "The request ended before it was complete."


@implementer(IHalfCloseableProtocol)
class BoundedChannel(HeldChannel):
    """An HTTP/1 connection with limits. It answers in JSON, even if the request is malformed.

    ``site`` is its BoundedSite. ``crowded`` says which limit of connections was reached before it;
    empty: none was. ``is_told_to_wait``: by Retry-After. It is read again after a second, unless it
    is that of a trusted proxy.
    """

    site: Any
    limits: Limits
    transport: Any
    phase = Phase.IDLE
    since = 0.0
    crowded = ""
    is_new = True
    is_told_to_wait = False

    _networkProducer: Any
    _deadline: Any = None
    _is_retiring = False
    _has_ended = False
    _is_abandoned = False
    _at_start = True
    _owes_continue = False
    _owes_turn = False

    @property
    def is_working(self) -> bool:
        """Whether a request is read or processed, and nothing of the answer was sent yet.

        False if the client has closed its side: it may have given up.
        """
        if self._has_ended:
            return False
        if self.waits_for_turn:
            return True
        return self.phase is Phase.ANSWER and not any(one.startedWriting for one in self.requests)

    @property
    def is_left(self) -> bool:
        """Whether the client has closed its side, as all do that have gone."""
        return self._has_ended

    @property
    def is_to_be_read(self) -> bool:
        """Whether it is new, or something has come, that was not read yet."""
        return self.waits_for_turn or (self.is_new and self.phase is Phase.IDLE)

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
        super().connectionMade()
        self._enter(Phase.IDLE, self._header_seconds)

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if not self._is_abandoned:
            self._count_cut_off("client")
        self.site.forget(self)
        super().connectionLost(reason)

    def loseConnection(self) -> None:
        """Close after the answer; a client that is still sending may go on until it has read it."""
        if self.phase is Phase.CLOSING or self.is_lost:
            return
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if self.is_deaf and not self._has_ended and half_close is not None:
            self._enter(Phase.CLOSING, self.limits.linger_seconds)
            self._networkProducer.unregisterProducer()
            self.transport.resumeProducing()
            half_close()
        else:
            self._enter(Phase.CLOSING, self.limits.idle_seconds)
            super().loseConnection()  # type: ignore[no-untyped-call]

    def readConnectionLost(self) -> None:
        """The client has closed its side, but may still read: finish the answers.

        Called again whenever reading is resumed.
        """
        self._has_ended = True
        self.end_if_over()

    def writeConnectionLost(self) -> None:
        """Everything was sent: wait until the client closes."""

    def end_if_over(self) -> None:
        """Close the connection of a client that sends no more, unless a request is in progress.

        While input is still unread, do nothing: this is called again when reading is resumed.
        """
        if not self._has_ended or self.is_lost or self._holders:
            return
        if self.phase in (Phase.HEADERS, Phase.BODY):
            self.refuse(400, INCOMPLETE, kind="incomplete")
        elif self.phase is Phase.IDLE:
            self.loseConnection()
        elif self.phase is Phase.CLOSING:
            self.transport.loseConnection()

    def abandon(self, cause: str) -> None:
        """Close at once, even if a request is in progress, for this cause."""
        self._count_cut_off(cause)
        self._is_abandoned = True
        self.transport.abortConnection()

    def _count_cut_off(self, cause: str) -> None:
        if self.phase is Phase.ANSWER and self.requests:
            self.site.refusals.cut_off(self.requests[0].path, cause)
        elif self.phase in (Phase.HEADERS, Phase.BODY) and not self.is_deaf:
            self.site.refusals.cut_off(self._target_being_read, cause)

    def retire(self) -> None:
        """Close as soon as no request is in progress; a request that was received is read first."""
        self._is_retiring = True
        if self.phase not in (Phase.IDLE, Phase.HEADERS):  # the next line would be dropped
            self.persistent = False
        self.site.reactor.callLater(0, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.phase is Phase.IDLE and not self.is_lost:
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
        if self.phase is Phase.IDLE and data and not self.is_deaf:
            self.is_new = False
            self._enter(Phase.HEADERS, self._header_seconds)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if self.is_deaf:
            return
        if self._at_start and len(line) > self.limits.line_bytes:
            self._refuse_line(len(line))
        elif self._at_start and line and not _METHOD.match(line):
            self._refuse_unreadable()
        elif len(line) > self.limits.header_bytes:
            self._refuse_header()
        elif not self._at_start and line[:1] in (b" ", b"\t"):
            self._refuse_unreadable()  # a folded header: proxies may read it in another way
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
            self.length = None  # tells Twisted that no request follows
            return
        if self.crowded and not self._is_probe:
            self.refuse(503, CROWDED, kind=self.crowded)
            self.length = None
            return
        headers = self.requests[-1].requestHeaders
        codings = headers.getRawHeaders(b"transfer-encoding", [])
        if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
            # A proxy may see another end of the body than Twisted, which ignores "identity".
            self._refuse_unreadable()
            self.length = None
            return
        fault = fault_of_host(headers, is_needed=self._version == b"HTTP/1.1")
        fault = fault or fault_of_target(self._path, headers)
        if fault:
            self.refuse(400, fault, kind="host")
            self.length = None
            return
        super().allHeadersReceived()  # type: ignore[no-untyped-call]
        request = self.requests[-1]
        if self._is_retiring or self.crowded:
            self._will_close()
        seconds = self.limits.upload_seconds if request.upload else self.limits.body_seconds
        self._enter(Phase.BODY, seconds)
        if request.is_refused and self.length != 0:
            self._stop_reading()
            self.length = 0
            self._transferDecoder = None

    def rawDataReceived(self, data: bytes) -> None:
        if self.is_deaf:
            return
        try:
            super().rawDataReceived(data)
        except TinyChunks:
            self.refuse(400, "The chunks of the body are too small.", kind="tiny-chunks")
        if not self._handlingRequest and self.requests and self.requests[-1].is_refused:
            self.answer_now()

    def allContentReceived(self) -> None:
        self._at_start = True
        self._enter(Phase.ANSWER, self.limits.answer_seconds)
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:
        """Go on with the input that came meanwhile, after all other connections had their turn.

        Not before the client has taken this answer: answers that nobody reads would pile up.
        """
        self.paused = True
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if not self.persistent:
            return
        self.is_told_to_wait = bool(self.host) and request.responseHeaders.hasHeader("retry-after")
        if self._buffer or self.is_told_to_wait:
            self.hold("turn")
            if self.has_unsent:
                self._enter(Phase.IDLE, self.limits.idle_seconds)
                self._owes_turn = True
            else:
                self._owe_turn()
        else:
            self.paused = False
            self._enter(Phase.IDLE, self.limits.idle_seconds)
            self.end_if_over()

    def _owe_turn(self) -> None:
        self._owes_turn = False
        limits = self.limits
        if self._buffer:
            self._enter(Phase.HEADERS, limits.header_seconds)
        else:
            self._enter(Phase.IDLE, limits.idle_seconds)
        seconds = limits.later_seconds if self.is_told_to_wait else 0.0
        self.site.reactor.callLater(seconds, self._take_turn)

    def resumeProducing(self) -> None:
        """The client has taken what was written: go on with what it has asked meanwhile."""
        super().resumeProducing()
        if self._owes_turn and not self.is_lost:
            self._owe_turn()

    def _take_turn(self) -> None:
        if not self.is_lost:
            self.paused = self.is_told_to_wait = False
            self.release("turn")
            self.dataReceived(b"")
            self.end_if_over()

    # Answers

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Write the head of an answer: all answers pass here, except those of ``refuse``."""
        complete(headers)
        super().writeHeaders(version, code, reason, headers)  # type: ignore[no-untyped-call]

    def answer_now(self) -> None:
        """Answer the request before its body was read; the rest of the body is dropped."""
        if self.is_deaf or self.is_lost or self._handlingRequest:
            return
        self._stop_reading()
        self.allContentReceived()

    def refuse(self, status: int, detail: str, *, kind: str) -> None:
        """Answer with an error, if the request cannot be read or has too much, and close."""
        if self.is_deaf or self.is_lost:
            return
        # A request that is being read may have given its id; otherwise it gets one here.
        is_begun = self.phase in (Phase.HEADERS, Phase.BODY) and self.requests
        request_id = request_id_of(self.requests[-1]) if is_begun else new_request_id()
        target = self._target_being_read
        self.site.refusals.refused(target, status, Reason(kind=kind), request_id=request_id)
        self._stop_reading()
        self.transport.write(refusal(status, detail, request_id=request_id))
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
    def _header_seconds(self) -> float:
        seconds = self.limits.header_seconds
        return min(seconds, self.limits.spare_seconds) if self.crowded else seconds

    @property
    def _is_probe(self) -> bool:
        return is_probe(plain_target(*self.target))

    @property
    def _target_being_read(self) -> bytes | None:
        """The target of the request that is being read, after its first line was read."""
        path = getattr(self, "_path", None)
        return None if path is None else plain_target(self._command, path)

    def _stop_reading(self) -> None:
        self.is_deaf = True
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = DROPPED_BYTES
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
        """Send 100 Continue to a client that waits for it."""
        if self._owes_continue and not self.is_deaf and not self.is_lost:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._owes_continue = False
