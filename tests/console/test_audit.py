"""The audit: read, filtered, with personal data masked, and undone."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.console.conftest import Served
from tests.console.content import THANDI, THANDIS_SUBSCRIPTION
from tests.console.reader import Reader

PLACE = "/console/audit/"
AUTHOR = (
    "SELECT set_config('sbm.author', jsonb_build_object('actor', %s::text, 'action', %s::text,"
    " 'reason', %s::text, 'request_id', %s::text, 'user_id', null)::text, %s)"
)


def change(direct: Arranged, *statements: str, actor: str = "bob", request: str = "r1") -> int:
    """Change rows as a request does it; returns the id of the last entry."""
    direct.rows(AUTHOR, actor, "PATCH /api/v1/x/", "asked by phone", request, False)
    direct.rows("; ".join(("BEGIN", *statements, "COMMIT")))
    direct.rows("SELECT set_config('sbm.author', '', false)")
    return int(direct.value("SELECT max(id) FROM audit"))


TO_ZULU = "UPDATE subscriptions SET lang = 'zul_ZA' WHERE id = "
TO_ZULU += repr(str(THANDIS_SUBSCRIPTION))
SETS = "UPDATE messagesets SET label = label || ' of 2027'"
BACK = "UPDATE messagesets SET label = replace(label, ' of 2027', '')"


@ensureDeferred
async def test_it_is_empty_until_somebody_changes_something(reader: Reader) -> None:
    assert (await reader.get(PLACE)).says("Nobody has changed anything yet")


@ensureDeferred
async def test_a_list_says_who_when_what_and_why(site: Served, reader: Reader) -> None:
    entry = change(site.direct, TO_ZULU)
    page = await reader.get(PLACE)
    assert page.rows()[1][0] == str(entry)
    assert page.rows()[1][2:] == [
        "bob",
        "PATCH /api/v1/x/",
        f"subscriptions {THANDIS_SUBSCRIPTION} changed: lang",
        "asked by phone",
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=bob", 1),
        ("actor=eve", 0),
        ("table=subscriptions", 1),
        ("table=users", 0),
        (f"table=subscriptions&row={THANDIS_SUBSCRIPTION}", 1),
        ("operation=update", 1),
        ("operation=delete", 0),
        ("request_id=r1", 1),
        (f"identity={THANDI}", 1),
        (f"identity={str(THANDI).upper()}", 1),
        ("from=2001-01-01&to=2100-01-01", 1),
        ("from=2100-01-01", 0),
        ("to=2001-01-01", 0),
    ],
)
@ensureDeferred
async def test_it_is_filtered(site: Served, reader: Reader, query: str, found: int) -> None:
    change(site.direct, TO_ZULU)
    page = await reader.get(f"{PLACE}?{query}")
    assert len(page.main.all("tbody")) == found
    assert page.says("No change matches these filters.") is (found == 0)


@pytest.mark.parametrize(
    "query", ["table=x", "operation=x", "from=yesterday", "to=9999-12-31", "after=x", "actor=%00"]
)
@ensureDeferred
async def test_a_filter_that_makes_no_sense_is_refused(reader: Reader, query: str) -> None:
    page = await reader.get(f"{PLACE}?{query}")
    assert page.status == 400
    assert page.main.one("ul", id="errors").text
    assert page.links()["Show all"] == PLACE


@ensureDeferred
async def test_it_is_paged(site: Served, reader: Reader) -> None:
    for number in range(3):
        change(site.direct, *[SETS, BACK] * 5, request=f"r{number}")
    first = await reader.get(PLACE)
    ids = [row[0] for row in first.rows()[1:]]
    second = await reader.get(first.links()["Further"])
    ids += [row[0] for row in second.rows()[1:]]
    third = await reader.get(second.links()["Further"])
    ids += [row[0] for row in third.rows()[1:]]
    assert len(ids) == len(set(ids)) == 120
    assert "Further" not in third.links()
    back = await reader.get(third.links()["Back"])
    assert back.rows() == second.rows()
    assert (await reader.get(back.links()["Back"])).rows() == first.rows()


@ensureDeferred
async def test_old_changes_of_large_metadata_shorten_a_page(site: Served, reader: Reader) -> None:
    site.direct.rows(
        "INSERT INTO audit (actor, action, table_name, row_id, operation, before, after)"
        " SELECT 'hub', 'PATCH', 'messages', n, 'update',"
        "        jsonb_build_object('metadata', repeat('x', 1048576)), '{\"metadata\": null}'"
        "   FROM generate_series(1, 5) n"
    )
    page = await reader.get(PLACE)
    seen = [len(page.rows()) - 1]
    while "Further" in page.links():
        page = await reader.get(page.links()["Further"])
        seen.append(len(page.rows()) - 1)
    assert seen == [2, 2, 1]
    back = await reader.get(page.links()["Back"])
    assert len(back.rows()) - 1 == 2
    assert (await reader.get(back.links()["Further"])).rows() not in (back.rows(), page.rows())


@ensureDeferred
async def test_an_entry_shows_fields_and_masks_persons(site: Served, reader: Reader) -> None:
    entry = change(site.direct, TO_ZULU.replace("SET", 'SET metadata = \'{"name": "Nomsa"}\','))
    page = await reader.get(f"{PLACE}{entry}/")
    rows = {row[0]: row[1:] for row in page.rows()[1:]}
    assert rows["lang"] == ["eng_ZA", "zul_ZA"]
    assert rows["metadata"] == ["•••", "•••"]
    assert not page.says(str(THANDI))
    shown = await reader.submit(page, "Show personal data")
    assert shown.says("Nomsa")
    assert shown.says(str(THANDI))
    assert site.direct.rows("SELECT actor, details FROM audit ORDER BY id DESC LIMIT 1") == [
        {"actor": "ann", "details": {"shown": "audit", "entry": entry}}
    ]


@ensureDeferred
async def test_a_change_is_undone_once_and_that_is_in_the_audit(
    site: Served, reader: Reader
) -> None:
    entry = change(site.direct, TO_ZULU)
    page = await reader.submit(await reader.get(f"{PLACE}{entry}/undo/"), "Undo", reason=" ")
    assert page.status == 400
    page = await reader.get(f"{PLACE}{entry}/undo/")
    assert page.says("1 row gets the values that it had before")
    assert site.direct.subscription(THANDIS_SUBSCRIPTION)["lang"] == "zul_ZA"
    for _ in range(2):
        done = await reader.submit(page, "Undo", reason="the wrong one")
        assert done.done == "1 change was undone."
    assert site.direct.subscription(THANDIS_SUBSCRIPTION)["lang"] == "eng_ZA"
    assert site.direct.rows("SELECT actor, reason, undoes FROM audit WHERE id > %s", entry) == [
        {"actor": "ann", "reason": "the wrong one", "undoes": entry}
    ]


@ensureDeferred
async def test_a_whole_request_is_undone_besides_what_moved_on(
    site: Served, reader: Reader
) -> None:
    entry = change(site.direct, SETS)
    site.direct.rows("UPDATE messagesets SET label = 'Mothers' WHERE id = 1")
    page = await reader.get(f"{PLACE}{entry}/undo-request/")
    assert page.says("3 rows get the values")
    assert page.says("1 of 4 moved on since and stays as it is.")
    assert page.says("messagesets 1 has other values now: label")
    done = await reader.submit(page, "Undo", reason="not yet")
    assert done.done == "3 changes were undone. 1 moved on since and stays as it is."
    assert site.direct.rows("SELECT label FROM messagesets WHERE label LIKE '%%2027'") == []
    assert site.direct.value("SELECT label FROM messagesets WHERE id = 1") == "Mothers"


@ensureDeferred
async def test_nothing_is_undone_if_more_moved_on_than_was_seen(
    site: Served, reader: Reader
) -> None:
    entry = change(site.direct, SETS)
    page = await reader.get(f"{PLACE}{entry}/undo-request/")
    site.direct.rows("UPDATE messagesets SET label = 'Mothers' WHERE id = 1")
    refused = await reader.submit(page, "Undo", reason="not yet")
    assert refused.status == 409
    assert refused.says("1 of 4 moved on since")
    assert site.direct.value("SELECT count(*) FROM messagesets WHERE label LIKE '%%2027'") == 3
    done = await reader.submit(refused, "Undo", reason="not yet")
    assert done.done == "3 changes were undone. 1 moved on since and stays as it is."


@ensureDeferred
async def test_it_says_why_a_change_cannot_be_undone(site: Served, reader: Reader) -> None:
    entry = change(site.direct, "UPDATE users SET password = 'x' WHERE username = 'ned'")
    page = await reader.get(f"{PLACE}{entry}/undo/")
    assert page.says("the audit does not have the secret")
    assert not page.main.all("form")
    moved = change(site.direct, TO_ZULU, request="r2")
    site.direct.rows("UPDATE subscriptions SET lang = 'xho_ZA'")
    page = await reader.get(f"{PLACE}{moved}/undo/")
    assert page.says("Nothing can be undone: all of it has moved on since.")


@ensureDeferred
async def test_there_is_no_other_entry(reader: Reader) -> None:
    for path in ("9/", "x/", "9/undo/", "9/undo-request/"):
        assert (await reader.get(PLACE + path)).status == 404


@pytest.mark.parametrize("path", ["", "1/", "1/undo/", "1/undo-request/"])
@ensureDeferred
async def test_only_administrators_read_and_undo(site: Served, path: str) -> None:
    change(site.direct, TO_ZULU)
    reader = site.reader("operate")
    assert (await reader.get(PLACE + path)).status == 403
    await reader.get("/console/operations/")
    assert (await reader.post(PLACE + path, once="1", seen="", reason="x")).status in (403, 405)
    assert site.direct.subscription(THANDIS_SUBSCRIPTION)["lang"] == "zul_ZA"
