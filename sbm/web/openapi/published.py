"""Documents that are made when the daemon starts, and that every client may read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from attrs import field, frozen
from twisted.web.http import CACHED
from twisted.web.server import Request

from sbm.web.http.flow import Flow
from sbm.web.http.http_errors import MethodNotAllowed
from sbm.web.http.wire import compact_json
from sbm.web.openapi.page import render
from sbm.web.schema.json_schema import JsonSchema

# So much is written at once.
PIECE_BYTES = 2**15

METHODS = ("GET", "HEAD", "OPTIONS")


@frozen(eq=False, kw_only=True)
class StaticDocument:
    """One document: it needs neither a user nor the database."""

    body: bytes = field(repr=False)
    content_type: str
    headers: Mapping[str, str] = field(factory=dict)
    _etag: bytes = field(init=False)

    @_etag.default
    def _hashed(self) -> bytes:
        return b'"%s"' % hashlib.sha256(self.body).hexdigest()[:32].encode("ascii")

    async def answer(self, request: Request) -> bytes:
        """Answer with the document, unless the client already has it; raises MethodNotAllowed.

        It is written no faster than the client takes it: else each slow client had a copy.
        """
        request.setHeader(b"Allow", ", ".join(METHODS).encode("ascii"))
        method = request.method.decode("ascii", "replace")
        if method not in METHODS:
            raise MethodNotAllowed(method)
        if method == "OPTIONS":
            return b""
        headers = {"Cache-Control": "no-cache", **self.headers}
        for name, value in headers.items():
            request.setHeader(name.encode("ascii"), value.encode("ascii"))
        if request.setETag(self._etag) is CACHED:
            return b""
        request.setHeader(b"Content-Type", self.content_type.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(self.body))
        if method == "HEAD":
            return b""
        flow = Flow()
        with flow.of(request):
            for begin in range(0, len(self.body), PIECE_BYTES):
                await flow.ready()
                request.write(self.body[begin : begin + PIECE_BYTES])
        return b""


def openapi_json(description: JsonSchema) -> StaticDocument:
    """The description as JSON."""
    return StaticDocument(body=compact_json(description), content_type="application/json")


def docs_page(description: JsonSchema) -> StaticDocument:
    """The description as a page."""
    page = render(description)
    return StaticDocument(
        body=page.html,
        content_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": page.policy,
            "Referrer-Policy": "no-referrer",
        },
    )
