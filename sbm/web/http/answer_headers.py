"""The headers that every answer has, also one that reaches no resource."""

from __future__ import annotations

from functools import lru_cache
from time import time

from twisted.web.http import RESPONSES, datetimeToString
from twisted.web.http_headers import Headers

from sbm.web.http.authors import REQUEST_ID_HEADER
from sbm.web.http.wire import compact_json

_REQUEST_ID = REQUEST_ID_HEADER.encode("ascii")

# An answer may have a token or personal data in it, or may be different for the next user. The
# resources of public documents and files say otherwise.
_UNLESS_SET = {b"Cache-Control": b"no-store", b"X-Content-Type-Options": b"nosniff"}

# Twisted would tell its version.
_ALWAYS = {b"Server": b"sbm"}


def complete(headers: Headers) -> None:
    """Add the headers that every answer has."""
    for name, value in _UNLESS_SET.items():
        if not headers.hasHeader(name):
            headers.setRawHeaders(name, [value])
    for name, value in _ALWAYS.items():
        headers.setRawHeaders(name, [value])


def refusal(status: int, detail: str, *, request_id: str) -> bytes:
    """A complete response; the connection is closed after it."""
    head, body = _refusal(status, detail, int(time()))
    return b"%b%b\r\n\r\n%b" % (head, request_id.encode("ascii"), body)


@lru_cache(maxsize=16)  # in a flood, there are thousands in each second
def _refusal(status: int, detail: str, _second: int) -> tuple[bytes, bytes]:
    """All of a response that is the same in this second, before and after the id."""
    body = compact_json({"detail": detail})
    headers = {
        b"Date": datetimeToString(),
        b"Connection": b"close",
        b"Content-Type": b"application/json",
        b"Content-Length": b"%d" % len(body),
        **_UNLESS_SET,
        **_ALWAYS,
        _REQUEST_ID: b"",
    }
    lines = [b"%b: %b" % header for header in headers.items()]
    return b"\r\n".join([b"HTTP/1.1 %d %b" % (status, RESPONSES[status]), *lines]), body
