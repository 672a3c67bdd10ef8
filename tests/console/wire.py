"""Answers as they are on the wire: a client of treq asks for gzip by itself, and unpacks it."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet import reactor as global_reactor
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

reactor: Any = global_reactor


@frozen(kw_only=True)
class Wired:
    """An answer; ``body`` is as it came."""

    status: int
    body: bytes
    headers: Any

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


async def fetched(url: str, **headers: str) -> Wired:
    """The answer to a GET with these headers; ``Accept_Encoding`` is that of the wire."""
    sent = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
    agent: Any = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    response = await agent.request(b"GET", url.encode("ascii"), sent)
    body = await readBody(response)
    return Wired(status=response.code, body=body, headers=response.headers)
