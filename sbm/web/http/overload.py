"""What a client hears if there are more connections than the limits allow."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from sbm.model.author import new_request_id
from sbm.runtime.listening import BriefProtocol, BriefTransport
from sbm.web.http.answer_headers import refusal
from sbm.web.http.http_errors import Reason
from sbm.web.http.targets import is_probe

CROWDED = "Too many connections. Try again later."

_FIRST_LINE = re.compile(rb"(?:GET|HEAD) (\S+) ")


# A client waits so long for its refusal. If it were refused at once, it would come again at once.
LATE_SECONDS = 1.0
# So many clients wait; others are refused at once. Each of them keeps a socket.
MOST_LATE = 250
# After so long, those that wait are looked at again: the first line of a probe may have come.
LOOK_SECONDS = 0.05


@define(eq=False, kw_only=True)
class LateRefusals:
    """The clients that wait for their refusal; ``reactor`` is its clock."""

    _reactor: Any
    _waiting: deque[tuple[float, Overloaded]] = field(factory=deque, init=False)
    _next_look: Any = field(default=None, init=False)
    _log: Logger = field(factory=Logger, init=False)

    def put_off(self, one: Overloaded) -> bool:
        """Refuse it later; returns whether there is room for it."""
        if len(self._waiting) >= MOST_LATE:
            return False
        self._waiting.append((self._reactor.seconds() + LATE_SECONDS, one))
        self._look_later()
        return True

    def refuse_all(self) -> None:
        """Refuse all that wait, now."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        while self._waiting:
            self._do(self._waiting.popleft()[1].refuse)

    def _look_later(self) -> None:
        if self._next_look is None and self._waiting:
            self._next_look = self._reactor.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Let in whom there is room for, and refuse those whose time has come."""
        self._next_look = None
        now = self._reactor.seconds()
        for _ in range(len(self._waiting)):
            due, one = self._waiting.popleft()
            if self._do(one.lets_in):
                continue
            if due <= now:
                self._do(one.refuse)
            else:
                self._waiting.append((due, one))
        self._look_later()

    def _do(self, work: Callable[[], bool | None]) -> bool:
        try:
            return bool(work())
        except Exception:  # the others must not wait for ever
            self._log.failure("a connection beyond the limits was lost")
            return True


class Overloaded(BriefProtocol):
    """Answers that there are too many connections, a second later if it can, and closes.

    It gets a channel of ``site`` instead, if a place becomes free meanwhile, or if it is a probe.
    ``crowded`` says which limit was reached.
    """

    def __init__(self, site: Any, addr: Any, crowded: str) -> None:
        self._site, self._addr, self._crowded = site, addr, crowded

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if not isinstance(transport, BriefTransport):
            super().makeConnection(transport)  # type: ignore[no-untyped-call]
        elif not self.lets_in() and not self._site.late_refusals.put_off(self):
            self.refuse()

    def lets_in(self) -> bool:
        """Whether there is a place for it now, which it then has."""
        transport: Any = self.transport
        is_probe = _begins_with_probe(transport.peek())
        channel = self._site.admit_late(self._addr, self._crowded, is_probe=is_probe)
        if channel is not None:
            transport.hand_over(channel)
        return channel is not None

    def refuse(self) -> None:
        """Answer, and close."""
        self.connectionMade()

    def connectionMade(self) -> None:
        assert self.transport is not None
        request_id = new_request_id()
        self._site.refusals.refused(None, 503, Reason(kind=self._crowded), request_id=request_id)
        self.transport.write(refusal(503, CROWDED, request_id=request_id))
        self.transport.loseConnection()


def _begins_with_probe(data: bytes) -> bool:
    line = _FIRST_LINE.match(data)
    return line is not None and is_probe(line[1])
