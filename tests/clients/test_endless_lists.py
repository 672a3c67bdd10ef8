"""Lists of other services that have no end, and rows of them that nobody can store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from sbm.clients import scheduler
from sbm.clients.links import PageLimits
from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import Faulty, OutcomeUnknown, TooManyPages
from sbm.clients.scheduler import MOST_FOR_ENDPOINT, Scheduler
from sbm.clients.service_client import ServiceClient
from sbm.model.scheduler_call import CallBack
from tests.clients.far import Far, Line, answer, reactor
from tests.clients.test_service_client import TIMEOUT

SINCE = datetime(2026, 11, 1, tzinfo=timezone.utc)
FEW = PageLimits(pages=5, rows=1000, time=timedelta(minutes=1))
ENDPOINT = "http://sbm/api/v1/schedule/1/send/"


def entry(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "endpoint": ENDPOINT,
        "cron_definition": "0 8 * * *",
        "auth_token": "t",
        "enabled": True,
        "created_at": "2026-11-23T09:00:00Z",
        **fields,
    }


def says(far: Far, *rows: Any, is_endless: bool = False) -> None:
    """Answer with a page of these rows, and perhaps with a link to one that was never read."""

    def reply(line: Line) -> None:
        link = f"http://x/?cursor={len(far.requests)}" if is_endless else None
        line.say(answer(200, json.dumps({"next": link, "results": rows}).encode()))

    far.reply = reply


@pytest_twisted.async_yield_fixture
async def counted(far: Far) -> AsyncIterator[tuple[ServiceClient, list[str]]]:
    """A client, and the limits that were exceeded."""
    told: list[str] = []
    client = ServiceClient(
        reactor=reactor,
        address=far.address(),
        timeout=TIMEOUT,
        refused=told.append,
    )
    yield client, told
    await client.stopService()


@ensureDeferred
async def test_a_look_for_schedules_ends(
    far: Far, counted: tuple[ServiceClient, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, told = counted
    monkeypatch.setattr(scheduler, "LOOK", FEW)
    says(far, entry(), is_endless=True)
    with pytest.raises(TooManyPages, match="more than 5 pages"):
        await Scheduler(client=client).find([ENDPOINT], since=SINCE)
    assert (len(far.requests), told) == (5, ["pages"])


@ensureDeferred
async def test_of_the_schedules_for_one_endpoint_some_are_looked_at(
    far: Far, client: ServiceClient
) -> None:
    says(far, *(entry(number) for number in range(MOST_FOR_ENDPOINT + 50)))
    found = await Scheduler(client=client).find([ENDPOINT], since=SINCE)
    assert len(found[ENDPOINT]) == MOST_FOR_ENDPOINT


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "a" * 101},
        {"id": "a\x1b"},
        {"id": None},
        {"endpoint": "http://sbm/" + "a" * 500},
        {"endpoint": None},
        {"cron_definition": {"a": 1}},
        {"cron_definition": "*" * 501},
        {"auth_token": "t" * 501},
        {"created_at": "0001-01-01T00:00:00Z"},
        {"updated_at": 7},
    ],
)
@ensureDeferred
async def test_a_schedule_that_nobody_can_store_makes_its_page_faulty(
    far: Far, client: ServiceClient, fields: dict[str, Any]
) -> None:
    says(far, entry(**fields))
    with pytest.raises(Faulty) as caught:
        await Scheduler(client=client).find([ENDPOINT], since=SINCE)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("told", ["a" * 101, "a b", "\x1b", 0])
@ensureDeferred
async def test_a_schedule_that_was_made_under_no_usable_id_is_looked_for(
    far: Far, client: ServiceClient, told: Any
) -> None:
    far.says(answer(201, json.dumps({"id": told}).encode()))
    call_back = CallBack(cron_definition="0 8 * * *", endpoint=ENDPOINT, auth_token="t")
    with pytest.raises(OutcomeUnknown):
        await Scheduler(client=client).create(call_back, begin=lambda: True)


@ensureDeferred
async def test_a_list_of_outbounds_ends(far: Far, counted: tuple[ServiceClient, list[str]]) -> None:
    client, told = counted
    says(far, {"id": "1"}, is_endless=True)
    sender = MessageSender(client=client)
    pages = sender.pages(after=SINCE, limits=FEW)
    assert [await anext(pages) for _ in range(5)] == [[]] * 5
    with pytest.raises(TooManyPages, match="more than 5 pages"):
        await anext(pages)
    assert (len(far.requests), told) == (5, ["pages"])
    assert len([page async for page in sender.pages(after=SINCE, limits=FEW, most=2)]) == 2


@ensureDeferred
async def test_no_row_is_later_than_what_was_asked_for(far: Far, client: ServiceClient) -> None:
    says(far, {"id": "1", "created_at": "2199-01-01T00:00:00Z"})
    before = SINCE + timedelta(hours=1)
    sender = MessageSender(client=client)
    pages = [page async for page in sender.outbounds_between(SINCE, before, limits=FEW)]
    assert [page.until for page in pages] == [before]
