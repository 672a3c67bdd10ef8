"""A few messages or people that a service refuses: they end as failures, and the others go on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from sbm.sandbox.stand_ins.identity_store import IdentityStoreApp
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp
from tests.e2e.end_to_end import World
from tests.e2e.test_troubles import DOUBTLESS, QUICK, hang_up, put_before, refusal

FEW_TRIES = {**DOUBTLESS, "SBM_MAX_FAULTS": "3"}
FEW_QUICK_TRIES = {**QUICK, "SBM_MAX_FAULTS": "3"}
PAGE = b"<html><h1>Forbidden</h1></html>"

# Every status that may be an answer to one message or one person.
STATUSES = [status for status in range(400, 600) if status != 429]


def close(request: Any) -> Any:
    request.transport.loseConnection()
    return NOT_DONE_YET


def reset(request: Any) -> Any:
    request.transport.abortConnection()
    return NOT_DONE_YET


def garbage(request: Any) -> Any:
    request.transport.write(b"ICY 200 OK\r\n\r\n")
    request.transport.loseConnection()
    return NOT_DONE_YET


def too_long(request: Request) -> Any:
    return b" " * (5 * 1024 * 1024)


def truncated(request: Any) -> Any:
    request.setHeader("Content-Length", "100")
    request.write(b'{"id": ')
    request.transport.loseConnection()
    return NOT_DONE_YET


def redirect(request: Request) -> bytes:
    return refusal(request, 302, b"", Location="http://127.0.0.1:9/")


ODD_ANSWERS = [close, reset, garbage, too_long, truncated, redirect]


def people_of(seed: World, subscriptions: list[Any]) -> list[str]:
    return [seed.direct.subscription(one)["identity"] for one in subscriptions]


def refusing(identities: list[str], how: Callable[[Request, str], Any]) -> Callable[[Request], Any]:
    """Before the Message Sender: refuse the POSTs to these identities."""

    def happens(request: Any) -> Any:
        if request.method != b"POST":
            return None
        identity = json.loads(request.content.read())["to_identity"]
        request.content.seek(0)
        return how(request, identity) if identity in identities else None

    return happens


def not_finding(identities: list[str], how: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """Before the Identity Store: answer the questions about these identities so."""
    return lambda request: (
        how(request) if any(one.encode() in request.uri for one in identities) else None
    )


def message_sender(seed: World) -> Resource:
    return MessageSenderApp(sender=seed.sender).resource()


def identity_store(seed: World) -> Resource:
    return IdentityStoreApp(store=seed.identities).resource()


@ensureDeferred
async def test_a_few_who_are_refused_first_do_not_stop_those_who_come_later(seed: World) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    refused = seed.subscribe(5, messageset, other)
    others = seed.subscribe(100, messageset, schedule)
    tried: list[str] = []

    def forbidden(request: Request, identity: str) -> bytes:
        tried.append(identity)
        return refusal(request, 403, PAGE, Content_Type="text/html")

    bad = people_of(seed, refused)
    door = await put_before(seed.message_sender, message_sender(seed), refusing(bad, forbidden))
    seed.start(**FEW_TRIES)
    token = await seed.token()
    for one in refused:
        await seed.call("POST", f"/api/v1/subscriptions/{one}/send", token=token)
    await seed.until(lambda: len(tried) > 8)
    assert seed.direct.value("SELECT max(faults) FROM sends") == 0, "nobody else was there"
    _, health = await seed.call("GET", "/api/health/")
    status = health["result"]["services"]["message_sender"]
    assert status["is_away"]
    assert "403" in status["reason"]
    assert "is its token right?" in status["reason"]
    assert any(str(one) in status["probe"] for one in refused)

    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    await seed.until(lambda: len(seed.received()) == len(others))
    await seed.settled()
    failed = seed.direct.rows("SELECT subscription_id, reason FROM failed_tasks")
    assert {row["subscription_id"] for row in failed} == set(refused)
    assert all("403" in row["reason"] and "3 times" in row["reason"] for row in failed)
    assert set(seed.received()) == set(people_of(seed, others))
    assert door.requests
    _, health = await seed.call("GET", "/api/health/")
    status = health["result"]["services"]["message_sender"]
    assert status == {"is_away": False, "reason": "", "probe": ""}


async def most_go_through(seed: World, refused: list[Any], others: list[Any]) -> None:
    """One tick for all: the refused end as failures with their answers, the others are sent."""
    await seed.tick(seed.direct.value("SELECT max(id) FROM schedules"))
    failed = seed.direct.rows("SELECT subscription_id, reason FROM failed_tasks")
    assert {row["subscription_id"] for row in failed} == set(refused)
    assert len(failed) == len(refused)
    assert set(seed.received()) == set(people_of(seed, others))
    assert all(len(texts) == 1 for texts in seed.received().values())
    assert seed.direct.unbalanced_ticks() == []


@pytest.mark.slow
@ensureDeferred
async def test_whatever_status_one_in_twenty_is_answered_the_others_go_through(
    seed: World,
) -> None:
    """Each of the refused gets a status of its own, and the failed task names it."""
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    subscribed = seed.subscribe(20 * len(STATUSES[::8]), messageset, schedule)
    refused, others = subscribed[::20], [one for n, one in enumerate(subscribed) if n % 20]
    status_of = dict(zip(people_of(seed, refused), STATUSES[::8], strict=True))
    how = refusing(
        list(status_of),
        lambda request, identity: refusal(request, status_of[identity], PAGE, Retry_After="x"),
    )
    await put_before(seed.message_sender, message_sender(seed), how)
    seed.start(**FEW_QUICK_TRIES)
    await most_go_through(seed, refused, others)
    for row in seed.direct.rows(
        "SELECT f.reason, s.identity FROM failed_tasks f JOIN subscriptions s"
        " ON s.id = f.subscription_id"
    ):
        assert f"answered {status_of[row['identity']]}" in row["reason"]


@pytest.mark.slow
@ensureDeferred
async def test_whatever_else_one_in_twenty_is_answered_the_others_go_through(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    subscribed = seed.subscribe(20 * len(ODD_ANSWERS), messageset, schedule)
    refused, others = subscribed[::20], [one for n, one in enumerate(subscribed) if n % 20]
    answer_of = dict(zip(people_of(seed, refused), ODD_ANSWERS, strict=True))
    how = refusing(list(answer_of), lambda request, identity: answer_of[identity](request))
    await put_before(seed.message_sender, message_sender(seed), how)
    seed.start(**FEW_QUICK_TRIES)
    await most_go_through(seed, refused, others)


def answering(status: int, body: bytes = PAGE) -> Callable[[Request], bytes]:
    return lambda request: refusal(request, status, body)


@pytest.mark.parametrize(
    "how",
    [
        *ODD_ANSWERS,
        pytest.param(answering(404), id="404"),
        pytest.param(answering(401), id="401"),
        pytest.param(answering(403), id="403"),
        pytest.param(answering(500), id="500"),
        pytest.param(answering(503), id="503"),
        pytest.param(answering(200, b"[]"), id="a list"),
    ],
)
@ensureDeferred
async def test_whatever_the_identity_store_answers_about_a_few_the_others_go_through(
    seed: World, how: Callable[[Request], Any]
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    subscribed = seed.subscribe(60, messageset, schedule)
    refused, others = subscribed[:5], subscribed[5:]
    happens = not_finding(people_of(seed, refused), how)
    await put_before(seed.identity_store, identity_store(seed), happens)
    seed.start(**FEW_TRIES)
    await most_go_through(seed, refused, others)
    assert seed.direct.value("SELECT min(process_status) FROM subscriptions") == 0


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 500])
@ensureDeferred
async def test_where_no_outbounds_are_listed_a_few_who_are_refused_end_as_failures_as_well(
    seed: World, status: int
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    subscribed = seed.subscribe(60, messageset, schedule)
    refused, others = subscribed[:3], subscribed[3:]
    refuse = refusing(people_of(seed, refused), lambda request, _: refusal(request, status, PAGE))

    def happens(request: Request) -> Any:
        return refusal(request, 404) if request.method == b"GET" else refuse(request)

    await put_before(seed.message_sender, message_sender(seed), happens)
    seed.start(**(FEW_TRIES if status == 403 else FEW_QUICK_TRIES))
    await most_go_through(seed, refused, others)


@ensureDeferred
async def test_if_only_the_question_about_somebody_is_not_found_nobody_is_sent_to_twice(
    seed: World,
) -> None:
    """The list is there: that something dislikes this question says nothing about the outcome."""
    schedule = seed.direct.schedule()
    subscribed = seed.subscribe(10, seed.direct.messageset("pregnancy", schedule), schedule)
    (disliked,) = people_of(seed, subscribed[:1])
    asked: list[Request] = []

    def happens(request: Any) -> Any:
        if request.method == b"GET":
            if disliked.encode() not in request.uri:
                return None
            asked.append(request)
            return refusal(request, 404, PAGE)
        identity = json.loads(request.content.read())["to_identity"]
        request.content.seek(0)
        return hang_up(seed, request) if identity == disliked else None

    await put_before(seed.message_sender, message_sender(seed), happens)
    seed.start(**FEW_QUICK_TRIES)
    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    await seed.until(lambda: len(asked) > 6)
    assert len(seed.sender) == len(subscribed)
    assert seed.direct.value("SELECT string_agg(state, ' ') FROM sends") == "unknown"


@pytest.mark.slow
@ensureDeferred
async def test_while_more_than_a_fifth_are_refused_nobody_is_at_fault(seed: World) -> None:
    """Not when all others have their messages either; and when it is over, everybody has theirs."""
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    subscribed = seed.subscribe(24, messageset, schedule)
    refused = people_of(seed, subscribed[:8])
    tried: Counter[str] = Counter()

    def forbidden(request: Request, identity: str) -> bytes:
        tried[identity] += 1
        return refusal(request, 403, PAGE)

    await put_before(seed.message_sender, message_sender(seed), refusing(refused, forbidden))
    seed.start(**FEW_TRIES)
    await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    # One probe after the other, each after a pause: more tries than a person has.
    await seed.until(lambda: tried.total() > 4 * len(refused))
    assert len(seed.received()) == len(subscribed) - len(refused)
    assert seed.direct.value("SELECT count(*) FROM failed_tasks") == 0
    refused.clear()
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == len(subscribed)


@ensureDeferred
async def test_identities_that_are_not_known_are_marked_and_cost_a_few_requests(
    seed: World,
) -> None:
    """The Identity Store answers 500 about each of them, at every tick until they are marked."""
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    unknown = seed.direct.subscriptions(60, messageset, schedule)
    known = seed.subscribe(200, messageset, schedule)
    bad = people_of(seed, list(unknown))
    door = await put_before(seed.identity_store, identity_store(seed), lambda _: None)
    seed.start(**FEW_TRIES)
    await seed.tick(schedule)
    assert len(seed.received()) == len(known)
    entries = [row for row in seed.direct.ledger() if row["subscription_id"] in set(unknown)]
    assert {row["reason"] for row in entries} == {"the Identity Store does not know the identity"}
    assert seed.direct.value("SELECT count(*) FROM failed_tasks") == 0
    marked = seed.direct.rows("SELECT id FROM subscriptions WHERE process_status = -1")
    assert {row["id"] for row in marked} == set(unknown)
    asked = [uri for _, uri in door.requests if any(one.encode() in uri for one in bad)]
    assert len(asked) <= 2 * 2 * len(bad) + 20  # two looks of two requests each
    await seed.tick(schedule)
    again = [uri for _, uri in door.requests if any(one.encode() in uri for one in bad)]
    assert len(again) == len(asked)
