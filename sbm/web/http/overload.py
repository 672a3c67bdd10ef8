"""What a client hears if there are more connections than the limits allow."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field

from sbm.model.author import new_request_id
from sbm.runtime.listening import BriefProtocol, BriefTransport
from sbm.web.http.answer_headers import refusal
from sbm.web.http.http_errors import Reason
from sbm.web.http.targets import is_probe

CROWDED = "Too many connections. Try again later."

_FIRST_LINE = re.compile(rb"(?:GET|HEAD) (\S+) ")


# So many clients wait for their refusal, for so long. They come again at once, perhaps: to refuse
# all of them at once, again and again, would take all of the time. Each keeps a socket, and the
# system allows a process a thousand.
MOST_LATE = 250
LATE_SECONDS = 1.0


@define(eq=False, kw_only=True)
class LateRefusals:
    """The refusals that wait for their time, one after the other; ``reactor`` is its clock."""

    _reactor: Any
    _waiting: deque[tuple[float, Callable[[], None]]] = field(factory=deque, init=False)

    def put_off(self, refuse: Callable[[], None]) -> bool:
        """Refuse later; returns whether there is room for it."""
        if len(self._waiting) >= MOST_LATE:
            return False
        self._waiting.append((self._reactor.seconds() + LATE_SECONDS, refuse))
        if len(self._waiting) == 1:
            self._reactor.callLater(LATE_SECONDS, self._refuse_those_due)
        return True

    def refuse_all(self) -> None:
        """Refuse all that wait, now."""
        while self._waiting:
            self._waiting.popleft()[1]()

    def _refuse_those_due(self) -> None:
        now = self._reactor.seconds()
        while self._waiting and self._waiting[0][0] <= now:
            self._waiting.popleft()[1]()
        if self._waiting:
            self._reactor.callLater(self._waiting[0][0] - now, self._refuse_those_due)


class Overloaded(BriefProtocol):
    """Answers that there are too many connections, a second later if it can, and closes.

    A probe gets a channel of ``site``, if its first line has come. ``crowded`` says which limit was
    reached.
    """

    def __init__(self, site: Any, addr: Any, crowded: str) -> None:
        self._site, self._addr, self._crowded = site, addr, crowded

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if not isinstance(transport, BriefTransport):
            super().makeConnection(transport)  # type: ignore[no-untyped-call]
        elif not self._lets_in() and not self._site.late_refusals.put_off(self._refuse):
            self.connectionMade()

    def _refuse(self) -> None:
        if not self._lets_in():
            self.connectionMade()

    def _lets_in(self) -> bool:
        """Whether it is a probe, which there is room for."""
        transport: Any = self.transport
        if not _begins_with_probe(transport.peek()):
            return False
        channel = self._site.admit_probe(self._addr, self._crowded)
        if channel is not None:
            transport.hand_over(channel)
        return channel is not None

    def connectionMade(self) -> None:
        assert self.transport is not None
        request_id = new_request_id()
        self._site.refusals.refused(None, 503, Reason(kind=self._crowded), request_id=request_id)
        self.transport.write(refusal(503, CROWDED, request_id=request_id))
        self.transport.loseConnection()


def _begins_with_probe(data: bytes) -> bool:
    line = _FIRST_LINE.match(data)
    return line is not None and is_probe(line[1])
