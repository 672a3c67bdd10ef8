"""The reply to a request, and how it is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.web.server import Request

from sbm.web.http import http_errors
from sbm.web.http.bodies import PARSED_TYPES
from sbm.web.http.http_errors import Reason
from sbm.web.http.refused_requests import explain
from sbm.web.http.wire import compact_json


@frozen(kw_only=True)
class Reply:
    """A status and the value of its JSON body; without a value, there is no body.

    ``json`` is a body that is JSON already, because a long one is written in slices. ``stream``
    writes a body that is too long for the memory: it gets the request, after the headers are set.
    ``reason`` says why the request was refused, or why nothing was done.
    """

    status: int = 200
    body: Any = None
    json: bytes | None = None
    headers: Mapping[str, str] = field(factory=dict)
    reason: Reason = field(factory=Reason)
    stream: Callable[[Request], Awaitable[None]] | None = None


@frozen(kw_only=True)
class OptionsInfo:
    """The answer of a path to OPTIONS; ``actions`` describes the fields by method."""

    name: str
    description: str = ""
    parses: Sequence[str] = PARSED_TYPES
    actions: Mapping[str, Any] | None = None

    def reply(self) -> Reply:
        """The answer to OPTIONS."""
        body = {
            "name": self.name,
            "description": self.description,
            "renders": ["application/json"],
            "parses": list(self.parses),
        }
        return Reply(body=body if self.actions is None else body | {"actions": self.actions})


def reply_to(error: Exception) -> Reply:
    """The reply that tells an error."""
    return Reply(
        status=http_errors.status_of(error) or 500,
        body=http_errors.body_of(error),
        headers=http_errors.headers_of(error),
        reason=http_errors.reason_of(error),
    )


def written(request: Request, reply: Reply) -> bytes:
    """Put the reply's status, headers and reason on the request, and return its body."""
    explain(request, reply.reason)
    request.setResponseCode(reply.status)
    for name, value in reply.headers.items():
        request.setHeader(name.encode("ascii"), value.encode("utf-8"))
    if reply.body is None and reply.json is None:
        return b""
    body = compact_json(reply.body) if reply.json is None else reply.json
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body
