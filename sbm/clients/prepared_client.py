"""treq's client, without the work that it repeats for each request.

For each request, treq parses and encodes the URL, builds a jar of cookies, and wraps the agent in
three others: for cookies, redirects and compressed bodies. Our URLs and headers are prepared, we
follow no redirects, no service sets cookies, and no body is unpacked: a small one can hold the
reactor and fill the memory. That work costs more than the requests (decision 0102), so this client
leaves it out. The rest is treq: ``get``, ``post``, and its answers.
"""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from treq.response import _Response as TreqResponse
from twisted.internet.defer import Deferred, succeed

from sbm.clients.http_agent import PreparedBody, PreparedHeaders
from sbm.clients.http_connection import MAX_BODY_BYTES, HttpAnswer


class PreparedResponse(TreqResponse):
    """treq's response to a request whose body is there already."""

    @property
    def body(self) -> bytes:
        """The whole body, as it came, without a Deferred around it."""
        answer: Any = self.original
        body: bytes = answer.body
        return body

    @property
    def encoding(self) -> str:
        """How the body is encoded, for example in gzip; empty if it is as it should be."""
        answer: Any = self.original
        for name, value in answer.raw_headers:
            if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                encoding: str = value.decode("ascii", "replace").strip().lower()
                return "" if encoding == "identity" else encoding
        return ""

    def content(self) -> Deferred[bytes]:
        return succeed(self.body)


class PreparedClient(HTTPClient):
    """treq's client for quoted URLs, prepared headers, and bodies that are written at once."""

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        *,
        headers: PreparedHeaders,
        data: PreparedBody | None = None,
        most_bytes: int = MAX_BODY_BYTES,
        **_ignored: Any,
    ) -> Deferred[PreparedResponse]:
        """Fires with treq's response, whose body is there already, of ``most_bytes`` at most.

        Fails as ``HttpAgent.request`` does.
        """
        agent: Any = self._agent
        answer: Deferred[Any] = agent.request(
            method.encode("ascii"), url.encode("ascii"), headers, data, most_bytes=most_bytes
        )
        return answer.addCallback(self._respond)

    def _respond(self, answer: HttpAnswer) -> PreparedResponse:
        return PreparedResponse(answer, self._cookiejar)


_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)
