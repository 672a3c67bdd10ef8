"""A person: found, read, and shown only when a user asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.web.server import Site

from sbm.clients import identity_store
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from sbm.sandbox.stand_ins.identity_store import IdentityStore, IdentityStoreApp
from sbm.settings.endpoints import ServiceAddress
from tests.arrange import Arranged
from tests.clients.test_service_client import TIMEOUT
from tests.console.conftest import Served, mounted
from tests.console.content import (
    MOTHERS,
    PEOPLE,
    THANDI,
    THANDIS_NUMBER,
    THANDIS_SUBSCRIPTION,
)
from tests.console.reader import Page, Reader
from tests.web.conftest import served
from tests.web.resources.test_people import ticks_in_a_row

reactor: Any = global_reactor

SEARCH = "/console/people/"
PLACE = f"{SEARCH}{THANDI}/"
TEXT = "Hello {{name}}, this is week 1 of MomConnect."


@pytest.fixture
def store() -> IdentityStore:
    store = IdentityStore()
    for identity, number in PEOPLE.items():
        store.add(number, identity)
    return store


@pytest_twisted.async_yield_fixture
async def site(
    database_uri: str, postgres_uri: str, tmp_path: Path, direct: Arranged, store: IdentityStore
) -> AsyncIterator[Served]:
    """The site, whose console asks a stand-in of the Identity Store."""
    port = reactor.listenTCP(
        0, Site(IdentityStoreApp(store=store).resource()), interface="127.0.0.1"
    )
    address = ServiceAddress(url=f"http://127.0.0.1:{port.getHost().port}", token="t")
    client = ServiceClient(reactor=reactor, address=address, timeout=RequestTimeout(TIMEOUT))
    asked = identity_store.IdentityStore(client=client)
    async with served(database_uri, tmp_path, mount=partial(mounted, identity_store=asked)) as api:
        yield Served(api=api, direct=direct, server_uri=postgres_uri)
    await client.stopService()
    await port.stopListening()


@pytest_twisted.async_yield_fixture
async def lonely(
    database_uri: str, postgres_uri: str, tmp_path: Path, direct: Arranged
) -> AsyncIterator[Reader]:
    """A user of a site whose Identity Store is away."""
    async with served(database_uri, tmp_path, mount=mounted) as api:
        yield Served(api=api, direct=direct, server_uri=postgres_uri).reader("people.read")


@pytest.fixture
def reader(site: Served) -> Reader:
    return site.reader("people.read")


async def search(reader: Reader, sought: str) -> Page:
    return await reader.submit(await reader.get(SEARCH), "Search", sought=sought)


def settled(
    direct: Arranged, outcome: str, number: int, *, stage: str = "post", reason: str = ""
) -> dict[str, Any]:
    """A row of Thandi's in the ledger; what was sent has the text of the message."""
    tick = direct.value(
        "INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)"
        " VALUES ('single', 'expanded', date_trunc('minute', now()), 0, 1, now())"
        " ON CONFLICT (due_at, shard) WHERE source = 'single'"
        " DO UPDATE SET triggers = ticks.triggers + 1 RETURNING id"
    )
    (row,) = direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id,"
        " identity, messageset_id, sequence_number, lang, message_version_id, prepend)"
        " SELECT gen_random_uuid(), %s, 'next', %s, %s, %s, %s, %s, %s, %s, 'eng_ZA', v.id,"
        " CASE WHEN v.id IS NOT NULL THEN 'Dear Thandi' END"
        " FROM (SELECT) one LEFT JOIN message_versions v ON %s = 'sent' AND messageset_id = %s"
        " AND sequence_number = %s AND lang = 'eng_ZA' RETURNING settled_at, id",
        *(tick, outcome, stage, reason, THANDIS_SUBSCRIPTION, str(THANDI), MOTHERS, number),
        *(outcome, MOTHERS, number),
    )
    return row


def delivered(direct: Arranged, row: dict[str, Any], *, reason: str | None = None) -> None:
    """The Message Sender says that it was delivered, or why not."""
    direct.rows(
        "INSERT INTO deliveries (settled_at, ledger_id, messageset_id, lang, delivered,"
        " attempts, nack_reason, is_final) VALUES (%s, %s, %s, 'eng_ZA', %s, 3, %s, true)",
        *(row["settled_at"], row["id"], MOTHERS, reason is None, reason),
    )


@pytest.mark.parametrize(
    "sought",
    [
        str(THANDI),
        str(THANDI).upper().replace("-", ""),
        str(THANDIS_SUBSCRIPTION),
        THANDIS_NUMBER,
        "27 82 000-1001",
        "00 27 82 000 1001",
    ],
)
@ensureDeferred
async def test_a_person_is_found_by_identity_subscription_and_number(
    reader: Reader, sought: str
) -> None:
    page = await search(reader, sought)
    assert (page.status, page.url) == (200, PLACE)
    assert page.heading == "Person 7656fa41…"


@ensureDeferred
async def test_a_search_by_number_is_in_the_audit_without_the_number(
    site: Served, reader: Reader
) -> None:
    await search(reader, THANDIS_NUMBER)
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["action"]) == ("people.read", "console /console/people/")
    assert entry["details"] == {"searched_by": "number", "found": 1}
    assert THANDIS_NUMBER not in str(entry)


@ensureDeferred
async def test_people_who_share_a_number_are_listed(reader: Reader, store: IdentityStore) -> None:
    sister = store.add(THANDIS_NUMBER)
    page = await search(reader, THANDIS_NUMBER)
    assert page.rows()[1:] == [["7656fa41…", "1"], [f"{sister[:8]}…", "0"]]
    assert page.links()["7656fa41…"] == PLACE


@pytest.mark.parametrize(
    ("sought", "status", "told"),
    [
        (" ", 422, "Type the identity"),
        ("x" * 101, 422, "Type the identity"),
        ("thandi", 422, "sbm knows nobody by this"),
        ("+27829999999", 200, "The Identity Store knows nobody with this number"),
    ],
)
@ensureDeferred
async def test_what_is_not_found_is_told(
    reader: Reader, sought: str, status: int, told: str
) -> None:
    page = await search(reader, sought)
    assert page.status == status
    assert page.says(told)


@pytest.mark.parametrize("identity", ["0820001001", "mama 7é", "mama/7"])
@ensureDeferred
async def test_an_imported_identity_that_is_no_uuid_is_found_and_hidden(
    site: Served, reader: Reader, identity: str
) -> None:
    site.direct.rows(
        "UPDATE subscriptions SET identity = %s WHERE id = %s", identity, THANDIS_SUBSCRIPTION
    )
    for sought in (identity, str(THANDIS_SUBSCRIPTION)):
        page = await search(reader, sought)
        assert (page.status, page.heading) == (200, "Person •••")
    page = await reader.submit(page, "Show")
    assert page.heading == f"Person {identity}"


@ensureDeferred
async def test_without_the_identity_store_the_rest_works(lonely: Reader) -> None:
    page = await search(lonely, THANDIS_NUMBER)
    assert (page.status, page.says("The Identity Store does not answer")) == (503, True)
    page = await search(lonely, str(THANDI))
    assert (page.status, page.says("pregnancy.text")) == (200, True)
    page = await lonely.submit(page, "Show")
    assert page.says("The Identity Store does not answer now.")
    page = await lonely.read(f"{SEARCH}{UUID(int=9)}/")
    assert page.says("Whether the Identity Store does is not known")


@ensureDeferred
async def test_who_is_not_known_here_may_be_known_there(
    reader: Reader, store: IdentityStore
) -> None:
    identity = store.add("+27821111111")
    page = await reader.get(f"{SEARCH}{identity}/")
    assert page.status == 404
    assert page.says("sbm does not know this person; the Identity Store does")
    page = await reader.get(f"{SEARCH}{UUID(int=9)}/")
    assert page.says("Neither sbm nor the Identity Store knows this person")


@ensureDeferred
async def test_the_page_says_where_she_is_and_what_comes_next(reader: Reader) -> None:
    page = await reader.get(PLACE)
    assert page.says("pregnancy.text")
    assert page.says("Active")
    (_, *planned) = page.rows()
    assert [row[:2] for row in planned] == [[str(n), "eng_ZA"] for n in range(2, 6)]
    assert all(row[2] != "not known" for row in planned)
    assert page.says("Then the set ends, and baby1.text begins.")
    assert not page.main.all("a", text="Stop")  # people.read alone may only look


@ensureDeferred
async def test_personal_data_are_hidden_until_they_are_asked_for(
    site: Served, reader: Reader
) -> None:
    delivered(site.direct, settled(site.direct, "sent", 1), reason="no answer from +27820001001")
    page = await reader.get(PLACE)
    assert page.says("Not delivered: no answer from •••")
    for secret in (str(THANDI), THANDIS_NUMBER, "Dear Thandi", TEXT):
        assert not page.says(secret)
    page = await reader.submit(page, "Show")
    for secret in (str(THANDI), THANDIS_NUMBER, "Dear Thandi", TEXT):
        assert page.says(secret)
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["action"]) == ("people.read", f"console {PLACE}")
    assert entry["details"] == {"shown": ["identity", "number", "texts"]}
    assert not (await reader.get(PLACE)).says(THANDIS_NUMBER)


@ensureDeferred
async def test_the_story_says_what_was_skipped_changed_and_refused(
    site: Served, reader: Reader
) -> None:
    direct = site.direct
    delivered(direct, settled(direct, "sent", 1))
    skipped = "the tick before it was still being sent"
    settled(direct, "skipped", 2, stage="trigger", reason=skipped)
    settled(direct, "failed", 2, reason="the Message Sender answered 500 (tried 5 times)")
    direct.rows(
        "INSERT INTO intake (outcome, reason, fields, caller, action, identity, payload)"
        " VALUES ('refused', 'invalid', '{lang}', 'hub', 'POST /x', %s, '{}')",
        str(THANDI),
    )
    direct.rows(
        "INSERT INTO audit (actor, action, reason, table_name, row_id, operation, before, after,"
        " identity) VALUES ('bob', 'PATCH /x', 'asked by phone', 'subscriptions', %s, 'update', %s,"
        " %s, %s)",
        str(THANDIS_SUBSCRIPTION),
        '{"lang": "zul_ZA", "metadata": {"name": "Zanele"}, "messageset_id": 2}',
        '{"lang": "eng_ZA", "metadata": {"name": "Thandi"}, "messageset_id": 1}',
        str(THANDI),
    )
    page = await reader.get(PLACE)
    for told in (
        "Sent: pregnancy.text number 1, eng_ZA",
        "Delivered",
        "Skipped: pregnancy.text number 2, eng_ZA",
        "Why: another message was still being sent to the person.",
        "Failed",
        "Why: another service did not do its part.",
        "A request for a subscription was refused",
        "by hub",
        "Changed by bob",
        "asked by phone",
        "language: zul_ZA → eng_ZA",
        "message set: baby1.text → pregnancy.text",
        "metadata: ••• → •••",
        "Registered: pregnancy.text, eng_ZA",
    ):
        assert page.says(told), (told, page.main.text)
    assert not page.says("Zanele")


@ensureDeferred
async def test_the_story_says_how_many_ticks_skipped_the_person(
    site: Served, reader: Reader
) -> None:
    schedule = site.direct.subscription(THANDIS_SUBSCRIPTION)["schedule_id"]
    await ticks_in_a_row(site.api.database, schedule, 4)
    assert (await reader.get(PLACE)).says("2 further ticks, due from ")


@ensureDeferred
async def test_a_long_story_has_pages(site: Served, reader: Reader) -> None:
    for number in range(65):
        settled(site.direct, "skipped", number, stage="trigger")
    page = await reader.get(PLACE)
    events = len(page.main.all("ol", class_="story")[0].all("li"))
    while "Further" in page.links():
        page = await reader.get(page.links()["Further"])
        events += len(page.main.all("ol", class_="story")[0].all("li"))
    assert events == 66
    page = await reader.get(page.links()["Back"])
    assert "Further" in page.links()
    page = await reader.get(f"{PLACE}?cursor=x")
    assert page.status == 400


@ensureDeferred
async def test_old_changes_of_large_metadata_shorten_a_page(site: Served, reader: Reader) -> None:
    site.direct.rows(
        "INSERT INTO audit (actor, action, table_name, row_id, operation, identity, before, after)"
        " SELECT 'hub', 'PATCH', 'subscriptions', %s, 'update', %s,"
        "        jsonb_build_object('metadata', repeat('x', 1048576)), '{\"metadata\": null}'"
        "   FROM generate_series(1, 5)",
        str(THANDIS_SUBSCRIPTION),
        str(THANDI),
    )
    page = await reader.get(PLACE)
    sizes = [len(page.main.all("ol", class_="story")[0].all("li"))]
    while "Further" in page.links():
        page = await reader.get(page.links()["Further"])
        sizes.append(len(page.main.all("ol", class_="story")[0].all("li")))
    assert sizes == [4, 4, 3]  # a change is an item in the item of its event


@pytest.mark.parametrize("place", [SEARCH, PLACE])
@ensureDeferred
async def test_nobody_looks_without_the_permission(site: Served, place: str) -> None:
    for username in ("content.edit", "operate", "people.act", "ned"):
        reader = site.reader(username)
        assert (await reader.get(place)).status == 403
        assert (await reader.post(place, sought=str(THANDI))).status == 403
    assert site.direct.rows("SELECT * FROM audit") == []


@ensureDeferred
async def test_a_deleted_subscription_has_its_story(site: Served, reader: Reader) -> None:
    settled(site.direct, "sent", 1)
    site.direct.rows("DELETE FROM subscriptions WHERE id = %s", THANDIS_SUBSCRIPTION)
    page = await search(reader, str(THANDIS_SUBSCRIPTION))
    assert page.url == PLACE
    assert page.says("This person has no subscription now.")
    assert page.says("Sent: pregnancy.text number 1, eng_ZA")
