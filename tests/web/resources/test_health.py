"""The health, where the database does not even refuse."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.test.requesthelper import DummyRequest

from sbm.telemetry import Telemetry
from sbm.web.resources.health import PATIENCE_SECONDS, Health


@define(eq=False)
class SilentDatabase:
    reactor: Clock = field(factory=Clock)


@define(eq=False)
class SilentEndpoint:
    """Answers nothing until it is cancelled."""

    database: SilentDatabase = field(factory=SilentDatabase)
    waiting: Deferred[bytes] = field(factory=Deferred)

    async def answer(self, *_: Any, **__: Any) -> bytes:
        return await self.waiting


def test_a_silent_database_is_told_in_time() -> None:
    endpoint: Any = SilentEndpoint()
    health = Health(
        endpoint=endpoint,
        version="0.1.0",
        role="all",
        libraries={"twisted": "x"},
        telemetry=Telemetry(),
    )
    request: Any = DummyRequest([b"api", b"health"])
    answered: Deferred[bytes] = Deferred.fromCoroutine(Health.health(health, request))
    endpoint.database.reactor.advance(PATIENCE_SECONDS - 0.1)
    assert not answered.called
    endpoint.database.reactor.advance(0.1)
    bodies: list[bytes] = []
    answered.addCallback(bodies.append)
    (body,) = bodies
    assert request.responseCode == 503
    assert json.loads(body)["up"] is False
    assert request.responseHeaders.getRawHeaders("Retry-After") == ["5"]
    assert endpoint.waiting.called, "what it waited for was not broken off"
