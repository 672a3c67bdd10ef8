"""Speaking to a stand-in over HTTP, in memory and at once."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from attrs import define, field, frozen
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)


def result_of(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired already; its failure is raised."""
    results: list[Any] = []
    failures: list[Any] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    assert results, "the Deferred has not fired"
    return results[0]


@frozen(kw_only=True)
class Answer:
    status: int
    body: Any
    raw: bytes
    headers: dict[str, str]
    announced_length: int


@define
class Wire:
    """One service at http://far.example, asked with a token unless told otherwise."""

    resource: Resource
    authorization: str | None = "Token any"
    content_type: str | None = "application/json"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        raw: bytes | None = None,
        *,
        parse: bool = True,
    ) -> Answer:
        said = {"Content-Type": self.content_type, "Authorization": self.authorization}
        headers = {name: value for name, value in said.items() if value is not None}
        url = path if path.startswith("http") else f"http://far.example{path}"
        data = json.dumps(body).encode() if raw is None and body is not None else raw
        stub: Any = StubTreq(self.resource)
        response = result_of(stub.request(method, url, headers=headers, data=data or b""))
        content = result_of(response.content())
        named = response.headers.getAllRawHeaders()
        return Answer(
            status=response.code,
            body=json.loads(content) if content and parse else None,
            raw=content,
            headers={name.decode().lower(): values[0].decode() for name, values in named},
            announced_length=response.length,
        )

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: Any) -> Answer:
        return self.ask("POST", path, body)


@define
class SetClock:
    """A clock that stands still until it is set."""

    now: datetime = field(default=NOON)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)
