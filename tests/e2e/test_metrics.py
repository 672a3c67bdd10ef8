"""The Metrics API gets the counts of a daemon, and a daemon works without its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest_twisted
from attrs import define, field, frozen
from pytest_twisted import ensureDeferred
from twisted.web.server import Request

from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.sandbox.stand_ins.metrics import Metrics, MetricsApp
from sbm.sandbox.stand_ins.rest import Refused, Response
from tests.clients.far import Far
from tests.e2e.end_to_end import Address, World, mounted


@frozen(eq=False, kw_only=True)
class Listening(MetricsApp):
    """Remembers who came."""

    authorizations: set[str] = field(factory=set)

    def fire(self, request: Request) -> Response:
        self.authorizations.add(request.getHeader("authorization") or "")
        return super().fire(request)


@define
class MetricsServer:
    """A Metrics API at an address."""

    app: Listening = field(factory=lambda: Listening(metrics=Metrics()))
    address: Address = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.address = Address(mounted(self.app.resource()))
        self.address.open()

    @property
    def values(self) -> dict[str, float]:
        return self.app.metrics.values


@pytest_twisted.async_yield_fixture
async def ear() -> AsyncIterator[MetricsServer]:
    ear = MetricsServer()
    yield ear
    await ear.address.close()


@frozen(eq=False, kw_only=True)
class FailsOnce(IdentityStoreApp):
    """Fails the first time that it is asked."""

    asked: list[str] = field(factory=list)

    def addresses(self, request: Request, identity: str) -> Response:
        self.asked.append(identity)
        if len(self.asked) == 1:
            raise Refused(500, {"detail": "a moment, please"})
        return super().addresses(request, identity)


async def stopped(seed: World) -> None:
    """Stop the daemon, and nothing else."""
    daemon, _ = seed.daemons.pop()
    await daemon.stopService()


@ensureDeferred
async def test_what_was_committed_is_told_once_by_the_names_of_the_old_service(
    seed: World, ear: MetricsServer
) -> None:
    """A set is finished and leads to another, one has no address, two are subscribed."""
    await seed.identity_store.close()
    seed.identity_store.resource = mounted(FailsOnce(store=seed.identities).resource())
    seed.identity_store.open()
    schedule, later = seed.direct.schedule(), seed.direct.schedule()
    baby = seed.direct.messageset("baby", schedule)
    pregnancy = seed.direct.messageset("(my) pregnancy", schedule, messages=1, next_set=baby)
    seed.subscribe(3, pregnancy, schedule)
    (silent,) = seed.direct.subscriptions(1, baby, schedule)
    seed.identities.add(None, seed.direct.subscription(silent)["identity"])
    seed.start(METRICS_URL=ear.address.url, METRICS_AUTH_USER="me", METRICS_AUTH_PASSWORD="pass")
    token = await seed.token()
    made = {"identity": str(uuid4()), "messageset": baby, "schedule": later, "lang": "eng_ZA"}
    for path, body, status in (
        ("", made, 201),
        ("", made | {"lang": "?"}, 400),
        ("request", {"data": made}, 201),
    ):
        told, _ = await seed.call("POST", f"/api/v1/subscriptions/{path}", body, token=token)
        assert told == status
    await seed.tick(schedule)
    assert await seed.call("POST", "/api/metrics/", token=token) == (
        200,
        {"scheduled_metrics_initiated": True},
    )
    await seed.until(lambda: seed.direct.value("SELECT bool_and(state = 'done') FROM tasks"))
    today = seed.direct.value("SELECT (now() AT TIME ZONE 'UTC')::date")
    await stopped(seed)
    assert ear.values == {
        "subscriptions.created.sum": 2 + 3,
        "subscriptions.send_next_message_errored.sum": 1,
        "sbm.send_next_message.http_error.500.sum": 1,
        "message.text.my_pregnancy.sum": 3,
        "message.text.sum": 3,
        **{
            f"subscriptions.send.estimate.{weekday}.last": 3 + 2
            for weekday in range(today.weekday(), 7)
        },
    }
    assert ear.app.authorizations == {"Basic bWU6cGFzcw=="}


@ensureDeferred
async def test_one_who_never_answers_hinders_neither_sending_nor_stopping(seed: World) -> None:
    far = Far()
    far.open()
    schedule = seed.direct.schedule()
    seed.subscribe(5, seed.direct.messageset("pregnancy", schedule), schedule)
    url = far.address().url
    seed.start(METRICS_URL=url, METRICS_AUTH_TOKEN="t", SBM_METRICS_SECONDS="0.1")
    await seed.tick(schedule)
    await seed.until(lambda: far.requests)
    await seed.tick(schedule)
    assert [len(texts) for texts in seed.received().values()] == 5 * [2]
    await stopped(seed)
    assert far.requests[0].headers["authorization"] == "Bearer t"
    await far.close()
