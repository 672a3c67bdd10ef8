"""What is done to one subscription: said first, done once, in the audit, and undone."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from tests.arrange import Arranged
from tests.console.conftest import Served
from tests.console.content import (
    BABIES,
    EMPTY,
    MOTHERS,
    NOSISI,
    NOSISIS_SUBSCRIPTION,
    THANDI,
    THANDIS_SUBSCRIPTION,
    TWICE_A_WEEK,
)
from tests.console.reader import Page, Reader

PLACE = f"/console/people/{THANDI}/"
AT = f"{PLACE}{THANDIS_SUBSCRIPTION}/"
WHY = "asked by phone"

# Each action: its address, its button, the permission that it needs, and what it leaves.
CHANGES = [
    ("language?lang=zul_ZA", "Change the language", {"lang": "zul_ZA"}),
    (f"schedule?schedule={TWICE_A_WEEK}", "Change the schedule", {"schedule_id": TWICE_A_WEEK}),
    (
        f"place?messageset={BABIES}&number=3",
        "Change the place",
        {"messageset_id": BABIES, "next_sequence_number": 3},
    ),
    ("stop", "Stop it", {"active": False}),
]


def row(direct: Arranged) -> dict[str, Any]:
    return direct.subscription(THANDIS_SUBSCRIPTION)


def owed(direct: Arranged) -> list[tuple[str, str]]:
    rows = direct.rows("SELECT kind, lane FROM sends ORDER BY kind")
    return [(one["kind"], one["lane"]) for one in rows]


def sent(direct: Arranged, messageset: int = MOTHERS, number: int = 1) -> None:
    tick = direct.value(
        "INSERT INTO ticks (source, state, due_at, shard, triggers, expanded_at)"
        " VALUES ('single', 'expanded', now() - interval '1 hour', 0, 1, now()) RETURNING id"
    )
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, reason, subscription_id,"
        " identity, messageset_id, sequence_number, lang)"
        " VALUES (%s, %s, 'next', 'sent', 'post', '', %s, %s, %s, %s, 'eng_ZA')",
        *(uuid4(), tick, THANDIS_SUBSCRIPTION, str(THANDI), messageset, number),
    )


async def done(reader: Reader, path: str, button: str) -> Page:
    page = await reader.get(f"{AT}{path}")
    assert page.status == 200, page.main.text
    return await reader.submit(page, button, reason=WHY)


@pytest.mark.parametrize(("path", "button", "left"), CHANGES)
@ensureDeferred
async def test_a_change_is_done_with_who_and_why(
    site: Served, path: str, button: str, left: dict[str, Any]
) -> None:
    before = row(site.direct)
    reader = site.reader("uma")
    page = await reader.get(f"{AT}{path}")
    assert row(site.direct) == before
    page = await reader.submit(page, button, reason=WHY)
    assert (page.status, page.url.partition("?")[0]) == (200, PLACE)
    assert page.done
    after = row(site.direct)
    assert {name: after[name] for name in left} == left
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["reason"], entry["table_name"]) == ("uma", WHY, "subscriptions")
    assert entry["action"] == f"console {AT}{path.partition('?')[0]}"
    assert page.says("Changed by uma")


@pytest.mark.parametrize(("path", "button", "left"), CHANGES)
@ensureDeferred
async def test_a_form_that_is_sent_twice_does_it_once(
    site: Served, path: str, button: str, left: dict[str, Any]
) -> None:
    reader = site.reader("uma")
    page = await reader.get(f"{AT}{path}")
    fields: dict[str, Any] = page.fields(button) | {"reason": WHY}
    first = await reader.post(page.url, **fields)
    again = await reader.post(page.url, **fields)
    assert (first.status, first.place) == (again.status, again.place)
    assert first.status == 303
    assert site.direct.value("SELECT count(*) FROM audit") == 1


@pytest.mark.parametrize(("path", "button", "left"), CHANGES)
@ensureDeferred
async def test_nothing_is_done_if_the_subscription_has_stepped_meanwhile(
    site: Served, path: str, button: str, left: dict[str, Any]
) -> None:
    reader = site.reader("uma")
    page = await reader.get(f"{AT}{path}")
    site.direct.rows(
        "UPDATE subscriptions SET next_sequence_number = 4 WHERE id = %s", THANDIS_SUBSCRIPTION
    )
    before = row(site.direct)
    page = await reader.submit(page, button, reason=WHY)
    assert page.status == 409
    assert page.says("Nothing was done: it has changed since you looked.")
    assert row(site.direct) == before
    page = await reader.submit(page, button, reason=WHY)
    assert page.status == 200
    assert row(site.direct) != before


@ensureDeferred
async def test_a_change_needs_a_reason(site: Served) -> None:
    reader = site.reader("uma")
    page = await reader.submit(await reader.get(f"{AT}stop"), "Stop it", reason=" ")
    assert page.status == 400
    assert row(site.direct)["active"]


@pytest.mark.parametrize(("path", "button", "left"), CHANGES)
@ensureDeferred
async def test_a_change_is_undone_from_the_story(
    site: Served, path: str, button: str, left: dict[str, Any]
) -> None:
    before = row(site.direct)
    reader = site.reader("uma")
    page = await done(reader, path, button)
    page = await reader.get(page.links()["Undo…"])
    assert page.says("back to")
    page = await reader.submit(page, "Undo it", reason="a mistake")
    assert page.done == "The change is undone."
    after = row(site.direct)
    assert {name: after[name] for name in left} == {name: before[name] for name in left}


@ensureDeferred
async def test_a_change_that_was_changed_again_is_not_undone(site: Served) -> None:
    reader = site.reader("uma")
    undo = (await done(reader, "language?lang=zul_ZA", "Change the language")).links()["Undo…"]
    shown = await reader.get(undo)
    await done(reader, "language?lang=xho_ZA", "Change the language")
    page = await reader.submit(shown, "Undo it", reason=WHY)
    assert page.status == 409
    assert page.says("this change cannot be undone any more")
    assert row(site.direct)["lang"] == "xho_ZA"


@ensureDeferred
async def test_only_changes_of_this_person_are_undone_here(site: Served) -> None:
    reader = site.reader("uma")
    undo = (await done(reader, "stop", "Stop it")).links()["Undo…"]
    entry = undo.rpartition("/")[2]
    assert (await reader.get(f"/console/people/{NOSISI}/undo/{entry}")).status == 404
    for other in ("999999", "x"):
        assert (await reader.get(f"{PLACE}undo/{other}")).status == 404


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("language?lang=zul_ZA", "The language changes from eng_ZA to zul_ZA."),
        (
            "language?lang=zul_ZA",
            "The next message is number 2 of pregnancy.text, in zul_ZA. It begins with “Sawubona",
        ),
        ("language?lang=eng_ZA", "This is the language that the subscription has."),
        ("language?lang=tso_ZA", "pregnancy.text has no message in this language."),
        (f"schedule?schedule={TWICE_A_WEEK}", "The new schedule is next due on: "),
        ("schedule?schedule=1", "This is the schedule that the subscription has."),
        ("schedule?schedule=99", "There is no such schedule."),
        ("schedule?schedule=x", "There is no such schedule."),
        (
            f"place?messageset={BABIES}&number=3",
            "The place changes from pregnancy.text 2 to baby1.text 3.",
        ),
        (
            f"place?messageset={BABIES}&number=3",
            "The schedule stays number 1. The usual one of baby1.text is number 2.",
        ),
        (
            f"place?messageset={MOTHERS}&number=9",
            "pregnancy.text has no message in eng_ZA from number 9 on",
        ),
        (f"place?messageset={EMPTY}&number=1", "empty.text has no message in eng_ZA"),
        (f"place?messageset={MOTHERS}&number=0", "The next number must be a number from 1 on."),
        (f"place?messageset={MOTHERS}&number=2", "This is the place that the subscription has."),
        ("place?messageset=99&number=1", "There is no such message set."),
        ("start", "The subscription is active already."),
        ("send", "The next message is number 2 of pregnancy.text, in eng_ZA."),
        ("resend", "sbm has sent no message of this subscription yet"),
    ],
)
@ensureDeferred
async def test_each_says_first_what_it_would_do(site: Served, path: str, told: str) -> None:
    page = await site.reader("uma").get(f"{AT}{path}")
    assert page.says(told), page.main.text


@ensureDeferred
async def test_a_place_without_a_translation_is_told(site: Served) -> None:
    site.direct.rows(
        "UPDATE messagesets SET on_missing_translation = 'wait' WHERE id = %s", MOTHERS
    )
    at = f"/console/people/{NOSISI}/{NOSISIS_SUBSCRIPTION}/"
    page = await site.reader("uma").get(f"{at}send")
    assert page.says(
        "The next message is number 3 of pregnancy.text, which is missing in xho_ZA: the"
        " subscription waits for the translation."
    )


@ensureDeferred
async def test_the_next_message_is_sent_now_once(site: Served) -> None:
    reader = site.reader("uma")
    page = await done(reader, "send", "Send it now")
    assert page.done == "The next message is being sent."
    assert owed(site.direct) == [("next", "single")]
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["actor"], entry["reason"]) == ("uma", WHY)
    assert entry["details"]["asked_for"] == "send"
    page = await reader.get(f"{AT}send")
    assert page.says("A message is on its way to this person already.")
    assert not page.main.all("button")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("active = false", "The subscription is stopped."),
        ("process_status = -1", "The subscription is in error."),
        (
            "completed = true, active = false, process_status = 2",
            "The subscription is completed",
        ),
    ],
)
@ensureDeferred
async def test_nothing_is_sent_now_to_who_gets_nothing(
    site: Served, change: str, told: str
) -> None:
    site.direct.rows(
        f"UPDATE subscriptions SET {change} WHERE id = %s",  # noqa: S608
        THANDIS_SUBSCRIPTION,
    )
    reader = site.reader("uma")
    page = await reader.get(f"{AT}send")
    assert page.says(told)
    assert not page.main.all("button")
    page = await reader.get(f"{AT}start")
    page = await reader.submit(page, "Start it again", reason=WHY)
    assert page.done == "The subscription is active again."
    after = row(site.direct)
    assert (after["active"], after["completed"], after["process_status"]) == (True, False, 0)


@ensureDeferred
async def test_the_last_message_is_sent_again(site: Served) -> None:
    sent(site.direct)
    reader = site.reader("uma")
    page = await reader.get(f"{AT}resend")
    assert page.says("Number 1 of pregnancy.text, which was sent on")
    page = await reader.submit(page, "Send it again", reason=WHY)
    assert page.done == "The last message is being sent again."
    assert owed(site.direct) == [("resend", "single")]
    assert page.says("Asked to send the last message again")
    assert site.direct.value("SELECT details ->> 'asked_for' FROM audit") == "resend"


@ensureDeferred
async def test_of_two_pages_only_one_sends_the_last_message_again(site: Served) -> None:
    sent(site.direct)
    reader = site.reader("uma")
    page, other = [await reader.get(f"{AT}resend") for _ in range(2)]
    await reader.submit(page, "Send it again", reason=WHY)
    site.direct.rows(
        "WITH gone AS (DELETE FROM sends RETURNING *)"
        " INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity)"
        " SELECT id, tick_id, kind, 'sent', 'post', subscription_id, identity FROM gone"
    )
    late = await reader.submit(other, "Send it again", reason=WHY)
    assert late.status == 409
    assert owed(site.direct) == []


@ensureDeferred
async def test_a_message_of_another_set_is_not_sent_again(site: Served) -> None:
    sent(site.direct, BABIES, 5)
    page = await site.reader("uma").get(f"{AT}resend")
    assert page.says("No message of this set was sent yet")
    assert not page.main.all("button")


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("resend", "operate"),
        ("send", "operate"),
        ("language?lang=zul_ZA", "people.act"),
        (f"schedule?schedule={TWICE_A_WEEK}", "people.act"),
        (f"place?messageset={BABIES}&number=3", "people.act"),
        ("stop", "people.act"),
        ("start", "people.act"),
    ],
)
@ensureDeferred
async def test_each_needs_its_permission(site: Served, path: str, permission: str) -> None:
    before = row(site.direct)
    for username in ("people.read", "people.act", "operate", "content.edit", "ned"):
        reader = site.reader(username)
        is_allowed = username == permission
        assert (await reader.get(f"{AT}{path}")).status == (200 if is_allowed else 403)
        if not is_allowed:
            posted = await reader.post(f"{AT}{path}", once=uuid4().hex, seen="x", reason=WHY)
            assert posted.status == 403
    assert (row(site.direct), owed(site.direct)) == (before, [])


@pytest.mark.parametrize(
    "path",
    [
        f"/console/people/{NOSISI}/{THANDIS_SUBSCRIPTION}/stop",
        f"{PLACE}{UUID(int=7)}/stop",
        f"{PLACE}x/stop",
        f"{AT}other",
    ],
)
@ensureDeferred
async def test_what_is_not_there_is_not_found(site: Served, path: str) -> None:
    assert (await site.reader("uma").get(path)).status == 404


@ensureDeferred
async def test_the_page_has_what_the_user_may_do(site: Served) -> None:
    for username, told in (
        ("uma", {"Send the last message again", "Send the next message now", "Stop"}),
        ("people.read", set()),
    ):
        page = await site.reader(username).get(PLACE)
        links = {name: place for name, place in page.links().items() if place.startswith(AT)}
        assert set(links) == told
    page = await site.reader("uma").get(PLACE)
    reader = site.reader("uma")
    chosen = await reader.submit(page, "Change the language…", lang="zul_ZA")
    assert chosen.says("The language changes from eng_ZA to zul_ZA.")
    chosen = await reader.submit(page, "Change the place…", number=4)
    assert chosen.says("The place changes from pregnancy.text 2 to pregnancy.text 4.")
    chosen = await reader.submit(page, "Change the schedule…", schedule=TWICE_A_WEEK)
    assert chosen.says("The schedule changes from number 1 to number 2.")
