"""Pages that are read and written a portion at a time."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from sbm.settings.endpoints import DatabaseAddress
from sbm.web.http.list_lane import ListLane
from sbm.web.schema import portions
from sbm.web.schema.pages import Listing
from tests.arrange import Arranged
from tests.store.postgres.database_proxy import DatabaseProxy
from tests.web.conftest import IDENTITY, Api, served
from tests.web.schema.test_pages import SUBSCRIPTIONS, asked, ids, page, some
from tests.web.sockets import comes_true, connected, head

FITTING = {"a": "x" * 16_000}
LARGE = {"a": "x" * 2**20}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Hashable]:
    """The user of each page and of each portion that is read."""
    seen: list[Hashable] = []
    go_on = ListLane.go_on

    async def noted(lane: ListLane, user: Hashable, work: Callable[[], Awaitable[Any]]) -> Any:
        seen.append(user)
        return await go_on(lane, user, work)

    monkeypatch.setattr(ListLane, "go_on", noted)
    return seen


@pytest.mark.parametrize("limit", [portions.FIRST.rows, 250, 999])
@pytest_twisted.ensureDeferred
async def test_a_long_page_has_the_rows_and_links_of_a_page(
    api: Api, direct: Arranged, limit: int
) -> None:
    expected = some(direct, 1200)
    url = f"{SUBSCRIPTIONS}?limit={limit}"
    seen: list[str] = []
    there: list[list[str]] = []
    while url:
        shown = await page(api, url)
        assert (shown["count"], len(shown["results"])) == (1200, min(limit, 1200 - len(seen)))
        seen += ids(shown)
        there.append(ids(shown))
        url = shown["next"]
        assert not url or asked(url)["offset"] == [str(len(seen))]
    assert seen == expected
    back: list[list[str]] = []
    url = shown["previous"]
    while url:
        shown = await page(api, url)
        back.insert(0, ids(shown))
        assert shown["next"]
        url = shown["previous"]
    assert back == there[:-1]
    assert ids(await page(api, shown["next"])) == there[1]


@pytest_twisted.ensureDeferred
async def test_what_changes_meanwhile_is_in_no_two_pages(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = some(direct, 600)
    read_after = Listing._read_after

    async def delete_first(self: Any, transaction: Any, portion: Any) -> Any:
        direct.rows("DELETE FROM subscriptions WHERE id = ANY(%s::uuid[])", expected[150:160])
        return await read_after(self, transaction, portion)

    monkeypatch.setattr(Listing, "_read_after", delete_first)
    shown = await page(api, f"{SUBSCRIPTIONS}?limit=500")
    assert list(shown) == ["count", "next", "previous", "results"]
    assert ids(shown) == expected[:150] + expected[160:500]
    assert ids(await page(api, shown["next"])) == expected[500:]


@pytest_twisted.ensureDeferred
async def test_rows_that_are_inserted_meanwhile_push_no_row_out_of_its_page(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = some(direct, 600)
    read_after = Listing._read_after
    insert = """
        INSERT INTO subscriptions (id, identity, messageset_id, schedule_id, lang, created_at,
                                   next_sequence_number, initial_sequence_number)
        SELECT gen_random_uuid(), identity, messageset_id, schedule_id, lang, created_at, 1, 1
          FROM subscriptions WHERE id = ANY(%s::uuid[])
    """

    async def insert_before(self: Any, transaction: Any, portion: Any) -> Any:
        direct.rows(insert, expected[:100])
        return await read_after(self, transaction, portion)

    monkeypatch.setattr(Listing, "_read_after", insert_before)
    shown = await page(api, f"{SUBSCRIPTIONS}?limit=500")
    first, second = set(ids(shown)), set(ids(await page(api, shown["next"])))
    assert set(expected[:500]) < first
    assert set(expected[500:]) <= second
    assert not first & second


@pytest_twisted.ensureDeferred
async def test_a_defect_in_the_middle_of_a_page_does_not_make_it_look_whole(
    api: Api, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(direct, 300)

    async def fail(self: Any, transaction: Any, portion: Any) -> Any:
        raise ValueError(transaction)

    monkeypatch.setattr(Listing, "_read_after", fail)
    client = await connected(api)
    client.send(head(api, f"GET {SUBSCRIPTIONS}", "Connection: close"))
    received = await client.rest()
    assert received.startswith(b"HTTP/1.1 200")
    assert b"Internal server error" not in received
    assert not received.endswith(b"0\r\n\r\n")


@pytest_twisted.ensureDeferred
async def test_the_bytes_of_a_page_do_not_shorten_it(api: Api, direct: Arranged) -> None:
    expected = some(direct, 60)
    direct.rows("UPDATE subscriptions SET metadata = %s", json.dumps(FITTING))
    direct.rows(
        "UPDATE subscriptions SET metadata = %s WHERE id = ANY(%s::uuid[])",
        json.dumps(LARGE),
        expected[10:15],
    )
    shown = await page(api, f"{SUBSCRIPTIONS}?limit=50")
    assert ids(shown) == expected[:50]
    assert [row["metadata"] for row in shown["results"]] == [
        LARGE if 10 <= place < 15 else FITTING for place in range(50)
    ]
    rest = await page(api, shown["next"])
    assert ids(rest) == expected[50:]
    assert ids(await page(api, rest["previous"])) == expected[:50]


@pytest_twisted.ensureDeferred
async def test_a_page_is_read_no_faster_than_the_client_takes_it(
    api: Api, direct: Arranged, reads: list[Hashable]
) -> None:
    expected = some(direct, 1000)
    direct.rows("UPDATE subscriptions SET metadata = %s", json.dumps(FITTING))
    client = await connected(api)
    client.transport.pauseProducing()
    client.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    client.send(head(api, f"GET {SUBSCRIPTIONS}", "Connection: close"))
    # What the sockets hold is less than the page. When nothing is asked for any more, it waits.
    before, still = 0, 0
    while still < 20:
        assert (await api.get(f"{SUBSCRIPTIONS}{expected[0]}/")).status == 200
        still = still + 1 if before and len(reads) == before else 0
        before = len(reads)
    assert before < 100
    client.transport.resumeProducing()
    received = await client.rest()
    assert received.count(b'"identity"') == 1000
    assert received.endswith(b"\r\n0\r\n\r\n")
    assert len(reads) > 100


@pytest_twisted.ensureDeferred
async def test_a_page_that_cannot_be_read_to_its_end_does_not_look_whole(
    database_uri: str, tmp_path: Path, direct: Arranged, reads: list[Hashable]
) -> None:
    some(direct, 1000)
    direct.rows("UPDATE subscriptions SET metadata = %s", json.dumps(FITTING))
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    try:
        async with served(database_uri, tmp_path, address=proxy.address) as api:
            client = await connected(api)
            client.transport.pauseProducing()
            client.send(head(api, f"GET {SUBSCRIPTIONS}", "Connection: close"))
            await comes_true(lambda: len(reads) > 1)
            await proxy.close()
            client.transport.resumeProducing()
            received = await client.rest()
    finally:
        proxy.remove()
    assert received.startswith(b"HTTP/1.1 200")
    assert not received.endswith(b"0\r\n\r\n")


@pytest_twisted.ensureDeferred
async def test_a_client_of_http_1_0_gets_a_long_page(api: Api, direct: Arranged) -> None:
    expected = some(direct, 300)
    client = await connected(api)
    client.send(head(api, f"GET {SUBSCRIPTIONS}").replace(b"HTTP/1.1", b"HTTP/1.0"))
    status, shown = await client.answer()
    assert (status, ids(shown)) == (200, expected)


@pytest_twisted.ensureDeferred
async def test_the_story_of_a_person_and_the_audit_are_read_in_portions(
    api: Api, direct: Arranged, reads: list[Hashable]
) -> None:
    one = await api.subscription()
    path = f"{SUBSCRIPTIONS}{one['id']}/"
    for number in range(30):
        metadata = {"metadata": FITTING | {"number": number}}
        assert (await api.call("PATCH", path, metadata)).status == 200
    changes = list(reversed(range(30)))
    audit: Any = await page(api, "/api/v1/audit/?table=subscriptions&operation=update")
    assert [row["after"]["metadata"]["number"] for row in audit["results"]] == changes
    assert len(reads) > 3
    story: Any = await page(api, f"/api/v1/identities/{IDENTITY}/timeline/")
    told = [row["details"]["after"] for row in story["results"] if row["event"] == "changed"]
    assert [row["metadata"]["number"] for row in told] == changes
    direct.rows("UPDATE audit SET after = %s WHERE operation = 'update'", json.dumps(LARGE))
    story = await page(api, f"/api/v1/identities/{IDENTITY}/timeline/?limit=20")
    rest = await page(api, story["next"])
    assert len(story["results"]) == 20
    assert len(story["results"] + rest["results"]) == 31


@pytest_twisted.ensureDeferred
async def test_the_bytes_of_a_row_are_those_of_all_its_long_columns(
    api: Api, direct: Arranged, reads: list[Hashable]
) -> None:
    one = await api.subscription()
    for number in range(20):
        changed = {"metadata": {"number": number}}
        assert (await api.call("PATCH", f"{SUBSCRIPTIONS}{one['id']}/", changed)).status == 200
    reads.clear()
    large = json.dumps(LARGE)
    direct.rows("UPDATE audit SET before = %s, after = %s, details = %s", *[large] * 3)
    audit: Any = await page(api, "/api/v1/audit/?table=subscriptions&limit=20")
    assert len(audit["results"]) == len(reads) == 20
    reads.clear()
    middling = json.dumps({"a": "x" * 2**14})
    direct.rows("UPDATE audit SET before = %s, after = %s, details = %s", *[middling] * 3)
    audit = await page(api, "/api/v1/audit/?table=subscriptions&limit=20")
    assert (len(audit["results"]), len(reads)) == (20, 7)


@pytest_twisted.ensureDeferred
async def test_numbers_are_handed_on_as_they_are_stored(api: Api, direct: Arranged) -> None:
    (one,) = some(direct, 1)
    digits = "9" * 5000  # more than Python would read
    direct.rows("UPDATE subscriptions SET metadata = %s", f'{{"a": {digits}, "b": 1.10}}')
    for path in (SUBSCRIPTIONS, f"{SUBSCRIPTIONS}{one}/"):
        answer = await api.get(path)
        assert answer.status == 200
        assert f'"metadata":{{"a": {digits}, "b": 1.10}}' in answer.text
