"""treq's client, without the work that it repeats for each request.

For each request, treq parses and encodes the URL, builds a jar of cookies, and wraps the agent in
three others: for cookies, redirects and compressed bodies. Our URLs and headers are prepared, we
follow no redirects, and no service sets cookies. That work costs more than the requests
(decision 0102), so this client leaves it out. The rest is treq: ``get``, ``post``, and its answers.
"""

from __future__ import annotations

import zlib
from typing import Any

from treq.client import HTTPClient
from treq.response import _Response as TreqResponse
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from sbm.clients import http_connection
from sbm.clients.http_agent import PreparedBody, PreparedHeaders
from sbm.clients.http_connection import HttpAnswer
from sbm.clients.outcomes import AnswerTooLong


class PreparedResponse(TreqResponse):
    """treq's response to a request whose body is there already."""

    @property
    def body(self) -> bytes:
        """The whole body, unpacked, without a Deferred around it."""
        answer: Any = self.original
        body: bytes = answer.body
        return body

    def content(self) -> Deferred[bytes]:
        return succeed(self.body)


class PreparedClient(HTTPClient):
    """treq's client for quoted URLs, prepared headers, and bodies that are written at once.

    Compressed bodies (gzip) are unpacked, up to MAX_BODY_BYTES.
    """

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: PreparedHeaders,
        data: PreparedBody | None = None,
        **_ignored: Any,
    ) -> Deferred[PreparedResponse]:
        """Fires with treq's response, whose body is there already.

        Fails as ``HttpAgent.request`` does, and with ResponseFailed if a body cannot be unpacked.
        """
        answer: Deferred[Any] = self._agent.request(
            method.encode("ascii"), url.encode("ascii"), headers, data
        )
        return answer.addCallback(self._respond)

    def _respond(self, answer: HttpAnswer) -> PreparedResponse:
        for name, value in answer.raw_headers:
            if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                answer.body = _unpacked(answer.body, value)
        return PreparedResponse(answer, self._cookiejar)


_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)

# The format of gzip, as zlib numbers it.
_GZIP = 16 + zlib.MAX_WBITS


def _unpacked(body: bytes, encoding: bytes) -> bytes:
    if encoding.strip().lower() not in (b"gzip", b"x-gzip"):
        return body
    most = http_connection.MAX_BODY_BYTES
    # One member only: many tiny ones would hold the reactor for long.
    member = zlib.decompressobj(wbits=_GZIP)
    try:
        unpacked = member.decompress(body, most + 1)
        if len(unpacked) > most:
            raise AnswerTooLong(f"an answer of more than {most} bytes")
        if not member.eof or member.unused_data:
            raise zlib.error("the compressed body is not one whole member")
    except zlib.error as error:
        raise ResponseFailed([Failure(error)]) from error
    return unpacked
