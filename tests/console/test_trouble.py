"""Trouble: what failed by cause, and owing it again."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.console.conftest import Served
from tests.console.content import THANDI
from tests.console.reader import Reader

TROUBLE = "/console/trouble/"
OWE = f"{TROUBLE}owe"
WHY = "the channel is mended"
AWAY = "the Message Sender answered 500 for +27820001001 (tried 5 times)"
CAUSE = "the Message Sender answered 500 for … (tried 5 times)"


def people(direct: Arranged) -> list[UUID]:
    return [row["id"] for row in direct.rows("SELECT id FROM subscriptions ORDER BY id")]


def failed(direct: Arranged) -> list[int]:
    """Three that failed at the Message Sender, and one without an address, days ago."""
    ids = people(direct)
    made = direct.failures(ids[:3], reason=AWAY)
    made += direct.failures(ids[3:4], stage="address", reason="the Identity Store answered 503")
    direct.rows(
        "UPDATE failed_tasks SET failed_at = now() - interval '3 days' WHERE id = %s", made[-1]
    )
    return made


def left(direct: Arranged) -> int:
    return int(direct.value("SELECT count(*) FROM failed_tasks"))


def owed(direct: Arranged) -> int:
    return int(direct.value("SELECT count(*) FROM sends"))


async def group(reader: Reader) -> str:
    page = await reader.get(TROUBLE)
    return page.links()[CAUSE]


@ensureDeferred
async def test_without_failures_there_is_nothing_to_do(site: Served) -> None:
    page = await site.reader("people.read").get(TROUBLE)
    assert (page.status, page.heading) == (200, "Trouble")
    assert page.says("No message has failed")


@ensureDeferred
async def test_failures_are_grouped_by_cause_with_their_trend(site: Served) -> None:
    failed(site.direct)
    page = await site.reader("people.read").get(TROUBLE)
    assert page.says("4 messages failed, and were not sent.")
    trend, causes = page.rows(0), page.rows(1)
    assert [row[1:] for row in trend[1:]] == [["0", "0"]] * 3 + [["0", "1"]] + [["0", "0"]] * 2 + [
        ["3", "0"]
    ]
    assert [row[:5] for row in causes[1:]] == [
        [CAUSE, "handing it to the Message Sender", "3", "3", "3"],
        [
            "the Identity Store answered 503",
            "asking the Identity Store for the number",
            "1",
            "0",
            "1",
        ],
    ]
    assert "27820001001" not in page.text
    assert not page.main.all("a", text="Owe all of them again…")


@ensureDeferred
async def test_a_group_lists_its_people_in_pages(site: Served) -> None:
    direct = site.direct
    failed(direct)
    more = direct.subscriptions(60, 1, 1)
    direct.failures(more, reason=AWAY)
    reader = site.reader("people.read")
    page = await reader.get(await group(reader))
    assert page.heading == "Failed messages of one cause"
    assert page.says("63")
    seen = len(page.rows(1)) - 1
    page = await reader.get(page.links()["Further"])
    assert seen + len(page.rows(1)) - 1 == 63
    place = page.main.all("table")[1].all("a")[-1]["href"]
    person = await reader.read(place)
    assert (person.status, person.heading) == (200, "Person 7656fa41…")
    assert person.url.startswith("/console/people/7656fa41")


@ensureDeferred
async def test_a_group_that_is_gone_says_so(site: Served) -> None:
    page = await site.reader("people.read").get(f"{TROUBLE}group?stage=post&cause=x")
    assert page.says("No message of this cause is on the list any more.")


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("group", 400),
        ("group?stage=x&cause=y", 400),
        ("group?stage=post", 400),
        (f"group?stage=post&cause={'x' * 201}", 400),
        ("group?stage=post&cause=%00", 400),
        ("group?stage=all", 404),
        ("owe", 400),
        ("owe?cause=x", 400),
        ("owe?one=x", 404),
    ],
)
@ensureDeferred
async def test_what_is_not_chosen_is_not_everything(site: Served, place: str, status: int) -> None:
    failed(site.direct)
    reader = site.reader("uma")
    assert (await reader.get(f"{TROUBLE}{place}")).status == status


@ensureDeferred
async def test_a_group_is_owed_again_once_with_who_and_why(site: Served) -> None:
    direct = site.direct
    failed(direct)
    ids = people(direct)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5 WHERE id = %s", ids[0])
    reader = site.reader("uma")
    page = await reader.get(await group(reader))
    page = await reader.get(page.links()["Owe these again…"])
    for told in (
        "2 messages are owed again: they are sent as soon as their turns come.",
        "1 is left out: the subscription has moved on.",
        "Nothing is sent twice",
    ):
        assert page.says(told), page.main.text
    fields: dict[str, Any] = page.fields("Owe again") | {"reason": WHY}
    first, again = [await reader.post(OWE, **fields) for _ in range(2)]
    assert (first.status, first.place) == (again.status, again.place)
    page = await reader.read(first.place)
    assert page.done == "2 messages are owed again."
    assert (left(direct), owed(direct)) == (1, 2)
    (entry,) = direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["reason"]) == ("uma", WHY)
    assert entry["details"] == {"requeued": 3, "owed": 2}


@ensureDeferred
async def test_nothing_is_owed_again_if_the_counts_have_changed(site: Served) -> None:
    direct = site.direct
    failed(direct)
    reader = site.reader("uma")
    page = await reader.get(f"{OWE}?stage=all")
    assert page.says("4 messages are owed again")
    direct.rows("UPDATE subscriptions SET active = false WHERE id = %s", people(direct)[0])
    page = await reader.submit(page, "Owe again", reason=WHY)
    assert page.status == 409
    assert page.says("1 is left out: the subscription is stopped.")
    assert (left(direct), owed(direct)) == (4, 0)
    page = await reader.submit(page, "Owe again", reason=WHY)
    assert page.done == "3 messages are owed again."
    assert (left(direct), owed(direct)) == (0, 3)


@ensureDeferred
async def test_one_message_is_owed_again(site: Served) -> None:
    direct = site.direct
    *_, number = failed(direct)
    reader = site.reader("uma")
    page = await reader.get(f"{OWE}?one={number}")
    assert page.says("1 message is owed again")
    page = await reader.submit(page, "Owe again", reason=WHY)
    assert page.done == "The message is owed again."
    assert (left(direct), owed(direct)) == (3, 1)
    page = await reader.get(f"{OWE}?one={number}")
    assert page.says("None of these is on the list any more.")
    assert not page.main.all("button")


@ensureDeferred
async def test_one_message_that_has_moved_on_is_left_out(site: Served) -> None:
    direct = site.direct
    number, *_ = failed(direct)
    direct.rows("UPDATE subscriptions SET next_sequence_number = 5")
    reader = site.reader("uma")
    page = await reader.get(f"{OWE}?one={number}")
    assert page.says("No message is owed again.")
    page = await reader.submit(page, "Owe again", reason=WHY)
    assert page.done == "It was left out: the subscription has moved on."


@ensureDeferred
async def test_a_long_list_becomes_a_task_whose_progress_is_told(site: Served) -> None:
    direct = site.direct
    direct.failures(direct.subscriptions(250, 1, 1), reason=AWAY)
    reader = site.reader("uma")
    page = await reader.get(f"{OWE}?stage=all")
    assert page.says("The oldest 200 are done at once, and a task does the rest.")
    page = await reader.submit(page, "Owe again", reason=WHY)
    assert page.done == "200 messages are owed again. A task does the rest."
    assert page.says("A task owes failed messages again: uma asked for it on")
    assert page.says("50 messages failed")


@ensureDeferred
async def test_each_page_needs_its_permission(site: Served) -> None:
    failed(site.direct)
    for username in ("people.read", "people.act", "operate", "content.edit", "ned"):
        reader = site.reader(username)
        may_read, may_owe = username == "people.read", username == "operate"
        for place in (TROUBLE, f"{TROUBLE}group?stage=post&cause=x"):
            assert (await reader.get(place)).status == (200 if may_read else 403)
        assert (await reader.get(f"{OWE}?stage=all")).status == (200 if may_owe else 403)
        if not may_owe:
            posted = await reader.post(OWE, stage="all", once=uuid4().hex, seen="x", reason=WHY)
            assert posted.status == 403
    assert (left(site.direct), owed(site.direct)) == (4, 0)
    assert str(THANDI) not in (await site.reader("people.read").get(TROUBLE)).text
