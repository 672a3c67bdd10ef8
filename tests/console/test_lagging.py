"""Behind and silent: the lists, the files, and what is done to people who are behind."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.console.conftest import Served
from tests.console.content import (
    BABIES,
    MOTHERS,
    OTHERS,
    THANDI,
    THANDIS_SUBSCRIPTION,
)
from tests.console.reader import Page, Reader

BEHIND = "/console/behind/"
SILENT = f"{BEHIND}silent/"
UNDELIVERED = f"{BEHIND}undelivered/"
DO = f"{BEHIND}do/"
LISTS = [BEHIND, SILENT, UNDELIVERED]
WHY = "after the outage"


def listed(direct: Arranged, *ids: UUID, behind: int = 3) -> None:
    """A search has found these."""
    direct.rows(
        "INSERT INTO behind_subscriptions (subscription_id, messages_behind, current_messageset_id,"
        " current_sequence_number, expected_messageset_id, expected_sequence_number)"
        " SELECT id, %s, messageset_id, next_sequence_number, messageset_id,"
        " next_sequence_number + %s FROM subscriptions WHERE id = ANY(%s)",
        *(behind, behind, list(ids)),
    )


def everybody(direct: Arranged) -> list[UUID]:
    return [row["id"] for row in direct.rows("SELECT id FROM subscriptions ORDER BY id")]


def late(direct: Arranged, *ids: UUID) -> None:
    """These began long ago, at number 1, and have had nothing: they should have ended by now."""
    direct.rows(
        "UPDATE subscriptions SET created_at = now() - interval '30 days',"
        " initial_sequence_number = 1, next_sequence_number = 1, lang = 'eng_ZA'"
        " WHERE id = ANY(%s)",
        list(ids),
    )
    listed(direct, *ids)


def places(direct: Arranged, *ids: UUID) -> list[tuple[int, int, bool]]:
    rows = direct.rows(
        "SELECT messageset_id, next_sequence_number, completed FROM subscriptions"
        " WHERE id = ANY(%s) ORDER BY id",
        list(ids),
    )
    return [tuple(row.values()) for row in rows]


def silent(direct: Arranged) -> None:
    """A search has found Thandi's subscription."""
    direct.rows(
        "INSERT INTO silent_subscriptions (subscription_id, cause) VALUES (%s, 'language')",
        THANDIS_SUBSCRIPTION,
    )
    direct.rows(
        "INSERT INTO silent_counts (active, counts) VALUES (12, %s)",
        '[{"cause": "language", "messageset_id": 1, "lang": "eng_ZA", "schedule_id": 1,'
        ' "count": 1}]',
    )


def undelivered(direct: Arranged) -> None:
    for identity, in_row in ((str(THANDI), 5), (str(OTHERS[0]), 2), ("0820001001", 3)):
        direct.rows(
            "INSERT INTO undelivered_people (identity, in_row, since, last_at)"
            " VALUES (%s, %s, now() - interval '5 days', now())",
            *(identity, in_row),
        )


def task(direct: Arranged, kind: str, state: str) -> None:
    ended = state in ("done", "failed")
    direct.rows(
        "INSERT INTO tasks (kind, state, finished_at, owner, lease_until, reason)"
        " VALUES (%s, %s, CASE WHEN %s THEN now() END, %s,"
        " CASE WHEN %s = 'begun' THEN now() + interval '1 hour' END, %s)",
        *(kind, state, ended, uuid4() if state == "begun" else None, state),
        "it broke" if state == "failed" else "",
    )


async def done(reader: Reader, place: str, button: str) -> Page:
    page = await reader.get(place)
    assert page.status == 200, page.main.text
    return await reader.submit(page, button, reason=WHY)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (BEHIND, "everybody had got what the schedules asked for"),
        (BEHIND, "There was no search yet."),
        (SILENT, "nobody has searched yet"),
        (UNDELIVERED, "the last message of each person was delivered"),
    ],
)
@ensureDeferred
async def test_an_empty_list_says_what_that_means(site: Served, place: str, told: str) -> None:
    page = await site.reader("people.read").get(place)
    assert (page.status, page.says(told)) == (200, True)
    assert not page.main.all("button", text="Download as CSV")


@ensureDeferred
async def test_those_who_are_behind_are_listed_with_where_they_should_be(site: Served) -> None:
    listed(site.direct, THANDIS_SUBSCRIPTION)
    reader = site.reader("people.read")
    page = await reader.get(BEHIND)
    assert page.rows()[1:] == [["7656fa41…", "3", "pregnancy.text 2", "pregnancy.text 5"]]
    assert not page.says(str(THANDI))
    person = await reader.read(page.links()["7656fa41…"])
    assert person.url == f"/console/people/{THANDI}/"


@ensureDeferred
async def test_the_list_has_filters_and_pages(site: Served) -> None:
    direct = site.direct
    more = direct.subscriptions(60, MOTHERS, 1)
    listed(direct, *more)
    listed(direct, THANDIS_SUBSCRIPTION, behind=9)
    reader = site.reader("people.read")
    page = await reader.get(BEHIND)
    assert page.says("61 people")
    seen = len(page.rows()) - 1
    page = await reader.get(page.links()["Further"])
    assert seen + len(page.rows()) - 1 == 61
    page = await reader.get(page.links()["Back"])
    assert len(page.rows()) - 1 == seen
    page = await reader.submit(page, "Show these", at_least="9")
    assert [row[1] for row in page.rows()[1:]] == ["9"]
    page = await reader.submit(page, "Show these", messageset=str(BABIES), at_least="")
    assert page.says("Nobody on the list is like this.")


@pytest.mark.parametrize(
    "query", ["at_least=x", "at_least=0", "messageset=-1", "messageset=99999999999", "cursor=x"]
)
@ensureDeferred
async def test_a_filter_that_cannot_be_read_is_an_error(site: Served, query: str) -> None:
    listed(site.direct, THANDIS_SUBSCRIPTION)
    reader = site.reader("uma")
    assert (await reader.get(f"{BEHIND}?{query}")).status == 400
    if "cursor" not in query:
        assert (await reader.get(f"{DO}forward?{query}")).status == 400


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("waiting", "A search is under way since"),
        ("begun", "A search is under way since"),
        ("done", "This is what the search of"),
        ("failed", "failed. The list is that of the search before. it broke"),
    ],
)
@pytest.mark.parametrize(
    ("place", "kind"),
    [(BEHIND, "find-behind-subscriptions"), (SILENT, "find-silent-subscriptions")],
)
@ensureDeferred
async def test_the_list_says_how_old_it_is(
    site: Served, place: str, kind: str, state: str, told: str
) -> None:
    task(site.direct, kind, state)
    page = await site.reader("people.read").get(place)
    assert page.says(told), page.main.text


@pytest.mark.parametrize(
    ("what", "kind"),
    [("behind", "find-behind-subscriptions"), ("silent", "find-silent-subscriptions")],
)
@ensureDeferred
async def test_a_search_is_begun_once(site: Served, what: str, kind: str) -> None:
    reader = site.reader("operate")
    page = await done(reader, f"{DO}search-{what}", "Search")
    assert page.status == 403  # operate alone may not read the list to which that leads
    (asked,) = site.direct.rows("SELECT kind, state FROM tasks")
    assert (asked["kind"], asked["state"]) == (kind, "waiting")
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["reason"]) == ("operate", WHY)
    page = await reader.get(f"{DO}search-{what}")
    assert page.says("A search is under way already.")
    assert not page.main.all("button")


@ensureDeferred
async def test_a_search_says_that_it_has_begun(site: Served) -> None:
    page = await done(site.reader("uma"), f"{DO}search-behind", "Search")
    assert page.done == "The search has begun. Load this page again in a minute."


@ensureDeferred
async def test_those_who_are_silent_are_listed_by_cause(site: Served) -> None:
    silent(site.direct)
    reader = site.reader("people.read")
    page = await reader.get(SILENT)
    cause = "Its message set has no message in its language"
    assert page.rows()[1][:2] == [cause, "1"]
    assert page.rows(1)[1][:5] == ["7656fa41…", cause, "pregnancy.text 2", "eng_ZA", "1"]
    page = await reader.get(f"{SILENT}?cause=language")
    assert len(page.rows(1)) == 2
    page = await reader.get(f"{SILENT}?cause=error")
    assert page.says("Nobody is silent for this cause.")
    assert (await reader.get(f"{SILENT}?cause=x")).status == 400


@ensureDeferred
async def test_people_who_are_not_reached_are_listed(site: Served) -> None:
    undelivered(site.direct)
    reader = site.reader("people.read")
    page = await reader.get(UNDELIVERED)
    assert [row[:2] for row in page.rows()[1:]] == [
        ["7656fa41…", "5"],
        ["•••", "3"],
        ["7656fa41…", "2"],
    ]
    assert "0820001001" not in page.text
    page = await reader.submit(page, "Show these", at_least="4")
    assert len(page.rows()) == 2
    page = await reader.submit(page, "Show these", at_least="9")
    assert page.says("Nobody has so many in a row.")


@pytest.mark.parametrize(
    ("place", "query", "rows"),
    [
        (BEHIND, "", 12),
        (BEHIND, "?at_least=9", 0),
        (BEHIND, f"?messageset={MOTHERS}", 12),
        (SILENT, "", 1),
        (SILENT, "?cause=language", 1),
        (UNDELIVERED, "", 3),
        (UNDELIVERED, "?at_least=4", 1),
    ],
)
@ensureDeferred
async def test_a_list_is_a_file_with_its_filter_and_that_is_in_the_audit(
    site: Served, place: str, query: str, rows: int
) -> None:
    direct = site.direct
    listed(direct, *everybody(direct))
    silent(direct)
    undelivered(direct)
    reader = site.reader("people.read")
    page = await reader.get(f"{place}{query}")
    if not rows:
        assert not page.main.all("button", text="Download as CSV")
        return
    file = await reader.submit(page, "Download as CSV")
    assert (file.status, file.header("Content-Type")) == (200, "text/csv; charset=utf-8")
    head, *lines = file.text.splitlines()
    assert head.startswith("identity,")
    assert len(lines) == rows
    assert any(str(THANDI) in line for line in lines)
    (entry,) = direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["action"]) == ("people.read", "console /console/behind/csv")
    named, _, value = query.lstrip("?").partition("=")
    assert entry["details"]["filters"] == ({named: value} if value else {})


@ensureDeferred
async def test_a_file_has_all_rows_of_a_long_list(site: Served) -> None:
    more = site.direct.subscriptions(1100, MOTHERS, 1)
    listed(site.direct, *more)
    reader = site.reader("people.read")
    file = await reader.submit(await reader.get(BEHIND), "Download as CSV")
    told = [line.split(",")[1] for line in file.text.splitlines()[1:]]
    assert sorted(told) == sorted(map(str, more))


@ensureDeferred
async def test_a_file_of_no_list_is_not_found(site: Served) -> None:
    reader = site.reader("people.read")
    await reader.get(BEHIND)
    assert (await reader.post(f"{BEHIND}csv", tab="x")).status == 404


@ensureDeferred
async def test_they_are_moved_to_where_they_should_be(site: Served) -> None:
    direct = site.direct
    ids = sorted(everybody(direct)[:3])
    late(direct, *ids)
    direct.rows("UPDATE subscriptions SET process_status = -1 WHERE id = %s", ids[2])
    reader = site.reader("uma")
    page = await reader.get(
        (await reader.get(BEHIND)).links()["Move these to where they should be…"]
    )
    for told in (
        "3 people are on the list.",
        "2 people are moved to where they should be by now.",
        "The messages between are never sent.",
        "2 subscriptions to next sets begin.",
        "1 is left out: the subscription is in error.",
    ):
        assert page.says(told), page.main.text
    assert places(direct, *ids) == [(MOTHERS, 1, False)] * 3
    page = await reader.submit(page, "Move them", reason=WHY)
    assert page.done == "2 people were moved."
    assert page.says("1 person")
    assert places(direct, *ids[:2]) == [(MOTHERS, 5, True)] * 2
    assert places(direct, ids[2]) == [(MOTHERS, 1, False)]
    entries = direct.rows("SELECT * FROM audit WHERE table_name IS NULL")
    assert [(one["actor"], one["reason"], one["details"]["done"]) for one in entries] == [
        ("uma", WHY, 2)
    ]
    assert direct.value("SELECT count(*) FROM schedule_runs") == 0


@ensureDeferred
async def test_the_next_message_is_sent_to_those_of_the_filter_once(site: Served) -> None:
    direct = site.direct
    ids = sorted(everybody(direct)[:3])
    late(direct, *ids[:2])
    late(direct, ids[2])
    direct.rows(
        "UPDATE behind_subscriptions SET messages_behind = 1 WHERE subscription_id = %s", ids[2]
    )
    reader = site.reader("uma")
    page = await reader.get(f"{DO}send?at_least=2")
    assert page.says("Only people who are 2 messages behind, or more.")
    assert page.says("2 people get one message each now: the next one.")
    fields: dict[str, Any] = page.fields("Send to them") | {"reason": WHY}
    first, again = [await reader.post(f"{DO}send", **fields) for _ in range(2)]
    assert (first.status, first.place) == (again.status, again.place)
    assert first.place.startswith("/console/behind/?at_least=2&done=")
    owed = direct.rows("SELECT subscription_id, lane FROM sends ORDER BY subscription_id")
    assert [(one["subscription_id"], one["lane"]) for one in owed] == [
        (one, "tick") for one in ids[:2]
    ]
    page = await reader.get(f"{DO}send?at_least=2")
    assert page.says("2 are left out: a message is on its way to the subscription already.")
    assert page.says("There is nobody to whom this can be done now.")


@pytest.mark.parametrize("what", ["forward", "send"])
@ensureDeferred
async def test_nothing_is_done_if_others_would_be_meant_now(site: Served, what: str) -> None:
    direct = site.direct
    ids = sorted(everybody(direct)[:3])
    late(direct, *ids)
    reader = site.reader("uma")
    page = await reader.get(f"{DO}{what}")
    direct.rows("UPDATE subscriptions SET next_sequence_number = 2 WHERE id = %s", ids[0])
    before = places(direct, *ids)
    button = page.main.all("button")[0].text
    page = await reader.submit(page, button, reason=WHY)
    assert page.status == 409
    assert (places(direct, *ids), direct.rows("SELECT * FROM sends")) == (before, [])
    assert direct.value("SELECT count(*) FROM audit") == 0


@ensureDeferred
async def test_a_long_list_is_done_in_parts(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbm.console.screens.lagging_actions.CHUNK", 2)
    monkeypatch.setattr("sbm.console.screens.lagging_actions.MOST_JUDGED", 4)
    direct = site.direct
    ids = everybody(direct)[:5]
    late(direct, *ids)
    reader = site.reader("uma")
    page = await reader.get(f"{DO}forward")
    for told in (
        "5 people are on the list.",
        "The newest 4 of them were looked at.",
        "2 people are moved",
        "2 more are left for the next time",
    ):
        assert page.says(told), page.main.text
    page = await reader.submit(page, "Move them", reason=WHY)
    assert page.done == "2 people were moved."
    assert (await reader.get(f"{DO}forward")).says("3 people are on the list.")


@ensureDeferred
async def test_with_an_empty_list_there_is_nothing_to_do(site: Served) -> None:
    page = await site.reader("uma").get(f"{DO}forward")
    assert page.says("Nobody is on this list. Search again first.")
    assert not page.main.all("button")


@ensureDeferred
async def test_each_page_needs_its_permission(site: Served) -> None:
    late(site.direct, THANDIS_SUBSCRIPTION)
    actions = [f"{DO}{one}" for one in ("search-behind", "search-silent", "forward", "send")]
    for username in ("people.read", "people.act", "operate", "content.edit", "ned"):
        reader = site.reader(username)
        for place in LISTS:
            assert (await reader.get(place)).status == (200 if username == "people.read" else 403)
        for place in actions:
            is_allowed = username == "operate"
            assert (await reader.get(place)).status == (200 if is_allowed else 403)
            if not is_allowed:
                assert (await reader.post(place, once=uuid4().hex, seen="x")).status == 403
        if username != "people.read":
            assert (await reader.post(f"{BEHIND}csv", tab="behind")).status == 403
    assert site.direct.rows("SELECT * FROM audit") == []
    page = await site.reader("people.read").get(BEHIND)
    assert not [name for name in page.links() if name.endswith("…") and "7656" not in name]
