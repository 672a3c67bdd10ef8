"""Asking the Message Sender what it holds: when an answer proves something, and what."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.server import Site

from sbm.clients.links import PageLimits
from sbm.clients.message_sender import MOST_IDENTITIES, Found, MessageSender
from sbm.clients.outcomes import CannotBeAsked, Faulty, Unavailable
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from sbm.sandbox.stand_ins.message_sender import MessageSender as Store
from sbm.sandbox.stand_ins.message_sender import MessageSenderApp, NewOutbound
from sbm.settings.endpoints import ServiceAddress
from tests.clients.far import Far, Line, ManualReactor, answer, reactor
from tests.clients.test_service_client import TIMEOUT

AFTER = datetime(2026, 11, 22, 9, 30, tzinfo=timezone.utc)
NOTHING: dict[str, Any] = {"next": None, "previous": None, "results": []}


async def find(client: ServiceClient, *identities: str) -> Found:
    return await MessageSender(client=client).find(
        identities or ("i",), keys=("k", "k2"), after=AFTER
    )


def row(key: str | None = "k", **fields: Any) -> dict[str, Any]:
    metadata = {} if key is None else {"sbm_send_id": key}
    created_at = "2026-11-23T09:00:00Z"
    return {"id": "1", "to_identity": "i", "metadata": metadata, "created_at": created_at, **fields}


def page(*rows: Any, following: Any = None) -> bytes:
    body = json.dumps({"next": following, "previous": None, "results": rows})
    return answer(200, body.encode())


def pages(far: Far, *answers: bytes) -> None:
    """Answer the first request with the first of these, and so on; the last one for ever."""
    left = list(answers)

    def reply(line: Line) -> None:
        line.say(left.pop(0) if len(left) > 1 else left[0])

    far.reply = reply


def asked(far: Far) -> list[list[tuple[str, str]]]:
    return [parse_qsl(urlsplit(request.target).query) for request in far.requests]


@ensureDeferred
async def test_the_question_names_the_identities_and_the_time(
    far: Far, client: ServiceClient
) -> None:
    pages(far, page())
    assert await find(client, "one", "two") == Found(outbounds={})
    assert far.only(lambda request: request.target.split("?")[0]) == "/api/v1/outbound/"
    after = ("after", "2026-11-22T09:30:00Z")
    assert asked(far) == [[("to_identity", "one"), ("to_identity", "two"), after]]


@ensureDeferred
async def test_what_carries_a_key_is_found_the_oldest_first(
    far: Far, client: ServiceClient
) -> None:
    newer, older = row(id="b"), row(id=7, created_at="2026-11-23T08:00:00Z")
    pages(far, page(newer, older, row("other", id="c"), row(None, id="d"), row(id="e", metadata=3)))
    assert await find(client) == Found(outbounds={"k": ("7", "b")})


@ensureDeferred
async def test_of_a_link_only_the_query_is_used_and_all_pages_are_read(
    far: Far, client: ServiceClient
) -> None:
    link = "https://elsewhere.example:99/other/?to_identity=i&cursor=a%2Bb"
    pages(far, page(row(id="a"), following=link), page(row("k2", id="b")))
    assert await find(client) == Found(outbounds={"k": ("a",), "k2": ("b",)})
    assert [request.target.split("?")[0] for request in far.requests] == ["/api/v1/outbound/"] * 2
    assert asked(far)[1] == [("to_identity", "i"), ("cursor", "a+b")]


@ensureDeferred
async def test_a_row_that_comes_on_two_pages_is_one_outbound(
    far: Far, client: ServiceClient
) -> None:
    pages(far, page(row(), following="http://x/?cursor=1"), page(row()))
    assert (await find(client)).outbounds == {"k": ("1",)}


@pytest.mark.parametrize(
    "bad",
    [
        answer(400, b'{"detail": "Invalid cursor"}'),
        answer(414),
        answer(302, Location="/elsewhere/"),
        answer(204),
        answer(200, b"<html>"),
        answer(200, b"[]"),
        answer(200, b"{}"),
        answer(200, b'{"results": []}'),
        answer(200, b'{"next": null}'),
        answer(200, b'{"next": null, "results": null}'),
        page("row"),
        page(None),
        page({"id": "1"}),
        page(row(id=None)),
        page(row(created_at=None)),
        page(row(created_at="yesterday")),
        page(row(created_at="0001-01-01T00:00:00+23:59")),
        page(row(id="a" * 101)),
        page(row(id="a\x1b")),
        page(row(id=True)),
        page(following="http://x/?" + "a=1&" * 4000),
        page(row("other", to_identity="somebody else")),
        page(row("other", to_identity=None)),
        page(following=7),
        page(following=""),
        page(following="http://x/no/query"),
        page(following="http://x/?cursor=1"),
    ],
)
@pytest.mark.parametrize("when", ["first", "second"])
@ensureDeferred
async def test_after_a_bad_page_nothing_follows_from_absence_but_from_presence(
    far: Far, client: ServiceClient, bad: bytes, when: str
) -> None:
    if when == "second":
        pages(far, page(row(), following="http://x/?cursor=1"), bad)
    else:
        pages(far, bad)
    found = await find(client)
    assert found.doubt
    assert found.outbounds.get("k") == (("1",) if when == "second" else None)
    # A link that leads in a circle was followed once, another that does not lead anywhere never.
    assert len(far.requests) <= 2


@ensureDeferred
async def test_a_link_back_to_the_question_itself_ends_it(far: Far, client: ServiceClient) -> None:
    link = "http://x/?to_identity=i&after=2026-11-22T09%3A30%3A00Z"
    pages(far, page(row(), following=link))
    assert (await find(client)).doubt
    assert len(far.requests) == 1


@ensureDeferred
async def test_an_answer_without_end_is_in_doubt(far: Far, client: ServiceClient) -> None:
    pages(far, answer(200, b" " * (5 * 1024 * 1024)))
    assert "bytes" in (await find(client)).doubt


def endless(far: Far, *rows: Any) -> None:
    """Answer each request with these rows, and a link to a page that was never read."""

    def reply(line: Line) -> None:
        line.say(page(*rows, following=f"http://x/?cursor={len(far.requests)}"))

    far.reply = reply


@ensureDeferred
async def test_a_list_without_end_is_left_after_some_pages_and_proves_nothing(
    far: Far, client: ServiceClient
) -> None:
    told: list[str] = []
    client.refused = told.append
    endless(far, row())
    found = await find(client)
    assert (found.outbounds, found.doubt) == ({"k": ("1",)}, "the list has more than 20 pages")
    assert len(far.requests) == 20
    assert told == ["pages"]


@ensureDeferred
async def test_a_list_is_left_after_some_rows_and_after_some_time(
    far: Far, client: ServiceClient, manual: ManualReactor
) -> None:
    sender = MessageSender(client=client)
    endless(far, row(), row())
    few = PageLimits(pages=9, rows=6, time=timedelta(seconds=9))
    found = await sender.find(["i"], keys=["k"], after=AFTER, limits=few)
    assert (found.doubt, len(far.requests)) == ("the list has more than 6 rows", 3)

    def late(line: Line) -> None:
        manual.clock.advance(5)
        line.say(page(following=f"http://x/?late={len(far.requests)}"))

    far.reply = late
    found = await sender.find(["i"], keys=["k"], after=AFTER, limits=few)
    assert found.doubt == "the list has more pages than can be read in 9 s"
    assert len(far.requests) == 5


@ensureDeferred
async def test_after_a_large_page_others_have_their_turn(
    far: Far, client: ServiceClient, manual: ManualReactor
) -> None:
    large = page(row(content="x" * 1024 * 1024), following="http://x/?cursor=1")
    pages(far, large, page())
    found = Deferred.fromCoroutine(find(client))
    while not manual.clock.getDelayedCalls() or not far.requests:
        await deferLater(reactor, 0.01)
    while not any(0.2 < call.getTime() < 0.3 for call in manual.clock.getDelayedCalls()):
        manual.clock.advance(0.001)
        await deferLater(reactor, 0.01)
    assert len(far.requests) == 1
    manual.clock.advance(0.3)
    assert (await found).doubt == ""
    assert len(far.requests) == 2


@ensureDeferred
async def test_only_what_was_asked_for_is_kept_and_of_that_the_oldest(
    far: Far, client: ServiceClient
) -> None:
    others = [row(f"other-{number}", id=number + 1) for number in range(500)]
    doubles = [
        row(id=number + 1, created_at=f"2026-11-23T09:00:00.{number:06}Z") for number in range(150)
    ]
    pages(far, page(*others, *reversed(doubles)))
    found = await find(client)
    assert found.outbounds == {"k": tuple(str(number) for number in range(1, 101))}
    assert "100 outbounds" in found.doubt


@pytest.mark.parametrize("status", [404, 405])
@ensureDeferred
async def test_where_there_is_no_list_it_cannot_be_asked(
    far: Far, client: ServiceClient, status: int
) -> None:
    pages(far, answer(status))
    with pytest.raises(CannotBeAsked):
        await find(client)
    assert await MessageSender(client=client).is_well() is None


@ensureDeferred
async def test_a_page_that_is_gone_does_not_mean_that_there_is_no_list(
    far: Far, client: ServiceClient
) -> None:
    pages(far, page(following="http://x/?cursor=1"), answer(404))
    with pytest.raises(Unavailable):
        await find(client)


@pytest.mark.parametrize("status", [429, 503])
@ensureDeferred
async def test_a_service_that_asks_for_a_pause_does_so_for_every_question(
    far: Far, client: ServiceClient, status: int
) -> None:
    pages(far, answer(status, Retry_After="9"))
    with pytest.raises(Unavailable) as caught:
        await find(client)
    assert caught.value.at_once
    assert not isinstance(caught.value, Faulty)


@pytest.mark.parametrize("status", [401, 403, 500, 502, 503, 599])
@ensureDeferred
async def test_any_other_error_may_be_due_to_the_question(
    far: Far, client: ServiceClient, status: int
) -> None:
    pages(far, answer(status))
    with pytest.raises(Faulty):
        await find(client)


def test_a_question_is_as_long_as_the_service_takes_it(far: Far) -> None:
    client = ServiceClient(
        reactor=reactor,
        address=ServiceAddress(url="http://h/api/v1", token="t"),
        timeout=RequestTimeout(TIMEOUT),
    )
    sender = MessageSender(client=client)
    identities = [str(uuid4()) for _ in range(200)]
    questions = sender.questions([*identities, *identities], after=AFTER)
    assert [identity for question in questions for identity in question] == identities
    assert [len(question) for question in questions] == [75, 75, 50]
    assert MOST_IDENTITIES == 75
    # Imported identities are texts of any kind; each of these is written with nine signs.
    odd = ["\u2603" * 36 + str(number) for number in range(30)]
    for question in sender.questions(odd, after=AFTER):
        query = (*(("to_identity", one) for one in question), ("after", "2026-11-22T09:30:00Z"))
        assert len(client.target("outbound", "", query=query)) < 3990
    assert sender.questions([], after=AFTER) == []


@pytest_twisted.async_yield_fixture
async def store() -> AsyncIterator[tuple[Store, MessageSender]]:
    """The stand-in, with small pages and the limit of the real web server."""
    model = Store()
    app = MessageSenderApp(sender=model, page_size=7)
    port = reactor.listenTCP(0, Site(app.resource()), interface="127.0.0.1")
    address = ServiceAddress(url=f"http://127.0.0.1:{port.getHost().port}", token="t")
    client = ServiceClient(reactor=reactor, address=address, timeout=RequestTimeout(TIMEOUT))
    yield model, MessageSender(client=client)
    await client.stopService()
    await port.stopListening()


@ensureDeferred
async def test_the_stand_in_is_asked_about_as_many_as_there_may_be(
    store: tuple[Store, MessageSender],
) -> None:
    model, sender = store
    identities = [str(uuid4()) for _ in range(MOST_IDENTITIES)]
    stored = {}
    for number in range(100):
        metadata = {"sbm_send_id": f"key-{number}"}
        said = NewOutbound(
            to_addr="+1", to_identity=identities[number % 75], content="x", metadata=metadata
        )
        stored[f"key-{number}"] = (model.store(said).id,)
        model.store(NewOutbound(to_addr="+1", to_identity="another", content="x"))
    (question,) = sender.questions(identities, after=AFTER)
    found = await sender.find(
        question, keys=stored, after=datetime(2020, 1, 1, tzinfo=timezone.utc)
    )
    assert found == Found(outbounds=stored)
