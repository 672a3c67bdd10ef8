"""What a client hears if there are more connections than the limits allow."""

from __future__ import annotations

import re
from typing import Any

from sbm.model.author import new_request_id
from sbm.runtime.listening import BriefProtocol, BriefTransport
from sbm.web.http.answer_headers import refusal
from sbm.web.http.http_errors import Reason
from sbm.web.http.targets import is_probe

CROWDED = "Too many connections. Try again later."

_FIRST_LINE = re.compile(rb"(?:GET|HEAD) (\S+) ")


class Overloaded(BriefProtocol):
    """Answers that there are too many connections, and closes.

    A probe gets a channel of ``site``, if its first line has come. ``crowded`` says which limit was
    reached.
    """

    def __init__(self, site: Any, addr: Any, crowded: str) -> None:
        self._site, self._addr, self._crowded = site, addr, crowded

    def makeConnection(self, transport: Any) -> None:
        if isinstance(transport, BriefTransport) and _begins_with_probe(transport.peek()):
            channel = self._site.admit_probe(self._addr, self._crowded)
            if channel is not None:
                transport.hand_over(channel)
                return
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        assert self.transport is not None
        request_id = new_request_id()
        self._site.refusals.refused(None, 503, Reason(kind=self._crowded), request_id=request_id)
        self.transport.write(refusal(503, CROWDED, request_id=request_id))
        self.transport.loseConnection()


def _begins_with_probe(data: bytes) -> bool:
    line = _FIRST_LINE.match(data)
    return line is not None and is_probe(line[1])
