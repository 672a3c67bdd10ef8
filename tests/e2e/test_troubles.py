"""Faults of other services, and their consequences: with whole daemons, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from sbm.model.outbound import compose
from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp, NewOutbound
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from tests.e2e.end_to_end import World, mounted, reactor

# Quick to try again, but a request has its time: the services answer in the process of the daemon
# and of the test, which is slow where others are at work.
QUICK = {
    "DEFAULT_REQUEST_TIMEOUT": "5",
    "SBM_LEASE_SECONDS": "8",
    "SBM_SETTLE_SECONDS": "6",
    "SBM_BACKOFF_MAX_SECONDS": "1",
}
# For when no outcome is ever in doubt, so that nothing has to wait for the time to settle.
DOUBTLESS = {
    **QUICK,
    "DEFAULT_REQUEST_TIMEOUT": "60",
    "SBM_LEASE_SECONDS": "120",
    "SBM_SETTLE_SECONDS": "61",
}


@define(eq=False, slots=False)
class FaultyService(Resource):
    """Stands before a service. ``happens`` may answer in its place, or say what to do after it."""

    service: Resource
    happens: Callable[[Request], Any]
    requests: list[tuple[bytes, bytes]] = field(factory=list)
    isLeaf = True

    def __attrs_post_init__(self) -> None:
        Resource.__init__(self)

    def render(self, request: Request) -> Any:
        self.requests.append((request.method, request.uri))
        done = self.happens(request)
        return self.service.render(request) if done is None else done


async def put_before(address: Any, service: Resource, happens: Any) -> FaultyService:
    mishaps = FaultyService(service, happens)
    address.resource = mounted(mishaps)
    await address.close()
    address.open()
    return mishaps


def refusal(request: Request, status: int, body: bytes = b"{}", **headers: str) -> bytes:
    request.setResponseCode(status)
    for name, value in headers.items():
        request.setHeader(name.replace("_", "-"), value)
    return body


def stored(seed: World, request: Any) -> None:
    """Store the outbound, as if all went well."""
    said = json.loads(request.content.read())
    request.content.seek(0)
    seed.sender.store(
        NewOutbound(**said | {"delivered": False, "resend": said["resend"] == "true"})
    )


def hang_up(seed: World, request: Any) -> Any:
    stored(seed, request)
    request.transport.abortConnection()
    return NOT_DONE_YET


def hang(seed: World, request: Request) -> Any:
    stored(seed, request)
    return NOT_DONE_YET


def five_hundred(seed: World, request: Request) -> Any:
    stored(seed, request)
    return refusal(request, 500)


def unavailable(seed: World, request: Request) -> Any:
    stored(seed, request)
    return refusal(request, 503, Retry_After="1")


def without_id(seed: World, request: Request) -> Any:
    stored(seed, request)
    return refusal(request, 201, b'{"ok": true}')


@pytest.mark.parametrize("mishap", [hang_up, hang, five_hundred, unavailable, without_id])
@ensureDeferred
async def test_what_was_stored_without_an_answer_is_adopted_and_not_sent_again(
    seed: World, mishap: Callable[[World, Request], Any]
) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(8, seed.direct.messageset("pregnancy", schedule), schedule)
    befallen: set[Request] = set()

    def happens(request: Request) -> Any:
        if request.method == b"POST" and len(befallen) < 4:
            befallen.add(request)
            return mishap(seed, request)
        return None

    await put_before(seed.message_sender, MessageSenderApp(sender=seed.sender).resource(), happens)
    seed.start(**QUICK)
    await seed.tick(schedule)
    assert len(seed.sender) == len(mothers)
    assert len(seed.received()) == len(mothers)
    outcomes = sorted(entry["outcome"] for entry in seed.direct.ledger())
    assert outcomes == ["adopted"] * len(befallen) + ["sent"] * (8 - len(befallen))
    assert seed.direct.value("SELECT min(next_sequence_number) FROM subscriptions") == 2
    held = {outbound.id for outbound in seed.sender.outbounds()}
    assert {entry["outbound_id"] for entry in seed.direct.ledger()} == held
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_was_lost_on_the_way_is_sent_once_the_settle_time_is_over(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(8, seed.direct.messageset("pregnancy", schedule), schedule)
    befallen: list[Request] = []

    def happens(request: Any) -> Any:
        if request.method == b"POST" and len(befallen) < 4:
            befallen.append(request)
            request.transport.abortConnection()
            return NOT_DONE_YET
        return None

    await put_before(seed.message_sender, MessageSenderApp(sender=seed.sender).resource(), happens)
    seed.start(**QUICK)
    await seed.tick(schedule)
    assert len(seed.sender) == len(seed.received()) == len(mothers)
    assert {entry["outcome"] for entry in seed.direct.ledger()} == {"sent"}
    assert max(entry["attempts"] for entry in seed.direct.ledger()) == 2


@pytest.mark.parametrize(
    ("uncertain", "times", "outcomes"),
    [("at-least-once", 2, ["sent"]), ("at-most-once", 1, ["failed"])],
)
@ensureDeferred
async def test_a_message_sender_without_a_list_is_decided_by_the_setting(
    seed: World, uncertain: str, times: int, outcomes: list[str]
) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(1, seed.direct.messageset("pregnancy", schedule), schedule)

    def happens(request: Request) -> Any:
        if request.method == b"GET":
            return refusal(request, 405)
        return hang_up(seed, request) if not len(seed.sender) else None

    await put_before(seed.message_sender, MessageSenderApp(sender=seed.sender).resource(), happens)
    seed.start(**QUICK, SBM_UNCERTAIN=uncertain)
    await seed.tick(schedule)
    assert len(seed.sender) == times
    assert [entry["outcome"] for entry in seed.direct.ledger()] == outcomes
    assert seed.direct.value("SELECT next_sequence_number FROM subscriptions") == 2


@pytest.mark.parametrize("service", ["identity_store", "message_sender"])
@pytest.mark.parametrize("status", [401, 429, 503])
@ensureDeferred
async def test_while_a_service_turns_everybody_away_nothing_is_burnt(
    seed: World, service: str, status: int
) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(40, seed.direct.messageset("pregnancy", schedule), schedule)
    turned_away: list[bytes] = []
    is_closed = [True]

    def happens(request: Request) -> Any:
        if not is_closed[0]:
            return None
        turned_away.append(request.method)
        return refusal(request, status, b'{"detail": "no"}')

    app: Any = (
        IdentityStoreApp(store=seed.identities)
        if service == "identity_store"
        else MessageSenderApp(sender=seed.sender)
    )
    await put_before(getattr(seed, service), app.resource(), happens)
    seed.start(**QUICK, SBM_MAX_FAULTS="1", SBM_CONCURRENCY="4")
    status_code, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    assert status_code == 202
    await seed.until(lambda: len(turned_away) > 2)
    assert seed.direct.ledger() == []
    is_closed[0] = False
    await seed.settled()
    assert len(seed.sender) == len(seed.received()) == len(mothers)
    assert {entry["outcome"] for entry in seed.direct.ledger()} == {"sent"}
    assert seed.direct.value("SELECT count(*) FROM failed_tasks") == 0


@ensureDeferred
async def test_an_identity_store_at_the_wrong_address_marks_nobody(seed: World) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(30, seed.direct.messageset("pregnancy", schedule), schedule)
    wrong, asked = [True], []

    def happens(request: Request) -> Any:
        asked.append(request)
        return refusal(request, 404, b'{"detail":"Not Found"}') if wrong[0] else None

    app = IdentityStoreApp(store=seed.identities)
    await put_before(seed.identity_store, app.resource(), happens)
    seed.start(**DOUBTLESS)
    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    await seed.until(lambda: len(asked) > 40)
    wrong[0] = False
    await seed.settled()
    assert len(seed.received()) == len(mothers)
    assert seed.direct.value("SELECT min(process_status) FROM subscriptions") == 0


@ensureDeferred
async def test_the_message_sets_of_a_dry_run_go_through_everything_but_the_post(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    real = seed.direct.messageset("real", schedule)
    dry = seed.direct.messageset("dry", schedule, messages=2, next_set=real)
    (mother,) = seed.subscribe(
        1, dry, schedule, metadata={"prepend_next_delivery": "Dear mother", "k": 1}
    )
    seed.start(DRY_RUN_MESSAGESETS=f"999, {dry}")
    for _ in range(3):
        await seed.tick(schedule)
    assert [entry["outcome"] for entry in seed.direct.ledger()] == ["dry-run", "dry-run", "sent"]
    (texts,) = seed.received().values()
    assert texts == ["real 1 eng_ZA"]
    subscription = seed.direct.subscription(mother)
    assert subscription["completed"]
    assert subscription["metadata"] == {"prepend_next_delivery": None, "k": 1}


@ensureDeferred
async def test_the_claims_of_a_daemon_that_died_are_taken_over_and_sent_once(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(10, seed.direct.messageset("pregnancy", schedule), schedule)
    database = Database(reactor=reactor, address=seed.config().database, size=1)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    await database.transact(ticks.expand, limit=100)
    dead = await database.transact(sends.claim, owner=uuid4(), limit=10, lease=timedelta(seconds=1))
    database.stopService()
    # Half of what it had claimed it had posted.
    for send in dead[::2]:
        outbound = json.loads(compose(send, "+27820000000", "http://media"))
        seed.sender.store(NewOutbound(**outbound | {"delivered": False, "resend": False}))
    seed.start(**QUICK)
    await seed.settled()
    assert len(seed.sender) == len(seed.received()) == len(mothers)
    outcomes = {entry["send_id"]: entry["outcome"] for entry in seed.direct.ledger()}
    assert outcomes == {
        send.id: "sent" if number % 2 else "adopted" for number, send in enumerate(dead)
    }
