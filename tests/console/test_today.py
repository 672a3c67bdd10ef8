"""Today: did it go out, and is anything wrong?"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.send import Settled
from sbm.model.silence import SilentGroup
from sbm.operations import day_report
from sbm.store import daemons, sends, silent_subscriptions, ticks
from tests.console.conftest import Served
from tests.console.content import MORNING, MOTHERS
from tests.console.reader import Page, Reader
from tests.patience import patience

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
NO_ADDRESS = Settled(outcome="failed", stage="address", reason="no address")


async def work(site: Served, **services: Any) -> None:
    """A daemon lives and sends."""
    now = site.direct.value("SELECT now()")
    await site.api.database.transact(
        daemons.record,
        id=uuid4(),
        role="all",
        version="1",
        commit="",
        host="host",
        pid=1,
        since=now,
        pause="",
        services=services,
    )


async def tick(site: Served, *, sent: int = 0, unaddressed: int = 0) -> int:
    """A tick of the morning, of which so many were sent, or had no address."""
    opened = await site.api.database.transact(ticks.open_tick, schedule_id=MORNING)
    assert opened is not None
    await site.api.database.transact(ticks.expand, limit=100)
    claimed = await site.api.database.transact(
        sends.claim, owner=uuid4(), limit=sent + unaddressed, lease=timedelta(minutes=1)
    )
    results = [(one, SENT if n < sent else NO_ADDRESS) for n, one in enumerate(claimed)]
    await site.api.database.transact(sends.settle, results=results)
    return opened


def questions(page: Page) -> dict[str, str]:
    """The answer to each question."""
    told = page.main.all("dl", class_="questions")[0]
    return {
        question.text: answer.text
        for question, answer in zip(told.all("dt"), told.all("dd"), strict=True)
    }


@ensureDeferred
async def test_a_day_on_which_nothing_happened_says_what_comes(
    site: Served, reader: Reader
) -> None:
    site.direct.rows(
        "UPDATE schedules SET next_tick_at = date_trunc('day', now()) + interval '3 days 6 hours'"
        " WHERE id = 1"
    )
    page = await reader.get("/console/")
    assert page.says("No schedule has ticked today.")
    assert page.says("The next one is schedule 1 (empty.text, pregnancy.text)") or page.says(
        "The next one is schedule 1 (pregnancy.text, empty.text)"
    )
    assert page.says("Nobody has looked yet")
    assert page.says("It holds:")


@ensureDeferred
async def test_without_a_schedule_that_is_due_it_says_what_to_do(reader: Reader) -> None:
    assert (await reader.get("/console/")).says("No schedule is due")


@ensureDeferred
async def test_a_tick_of_today_has_its_progress_and_who_got_nothing(
    site: Served, reader: Reader
) -> None:
    await work(site)
    tick_id = await tick(site, sent=6, unaddressed=2)
    site.direct.rows(
        "INSERT INTO estimated_sends (send_date, messageset_id, estimate_subscriptions,"
        " estimate_identities) VALUES ((now() AT TIME ZONE 'Africa/Johannesburg')::date, 1, 11, 10)"
    )
    page = await reader.get("/console/")
    _, row = page.rows()
    assert "pregnancy.text" in row[1]
    assert "8 of 12" in row[2]
    assert "in a second" in row[3]
    assert row[4] == "2 failed: the person has no number"
    people = await reader.get(page.links()["2 failed: the person has no number"])
    assert people.heading == f"People of tick {tick_id}"
    assert len(people.rows()) == 3
    assert page.says("Nothing is wrong")
    figures = page.rows(1)
    assert figures[0] == ["", "Estimated", "Asked for", "Sent"]
    assert [row[1:] for row in figures[1:] if row[2] != "0"] == [["11", "12", "0"]]


@ensureDeferred
async def test_what_is_wrong_comes_first_and_leads_to_where_it_is_told(
    site: Served, reader: Reader
) -> None:
    page = await reader.get("/console/")
    assert page.says("No daemon sends")
    await work(
        site, message_sender={"is_away": True, "reason": "503", "next_try": None, "probe": ""}
    )
    site.direct.rows("UPDATE schedules SET canary = 1")
    tick_id = await tick(site, sent=1)
    site.direct.rows(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by, lane) VALUES"
        " ('operator', 'wrong texts', 'later', 'uma', 'single')"
    )
    site.direct.rows(
        "UPDATE sends SET state = 'unknown', unknown_since = now() - interval '1 hour'"
        " WHERE id = (SELECT id FROM sends LIMIT 1)"
    )
    site.direct.rows("UPDATE ticks SET missing = 1")
    page = await after_a_while(site, "message sender is away")
    (told,) = page.main.all("section", class_="warning")
    assert "message sender is away (503)" in told.text
    assert "uma has paused sends (messages to single people): wrong texts" in told.text
    assert f"Tick {tick_id}: It waits for a person after its first messages." in told.text
    assert "Of 1 send it is not known whether it was sent" in told.text
    assert "1 tick is unbalanced" in told.text
    assert {one.get("href") for one in told.all("a")} == {
        "/console/operations/",
        f"/console/ticks/{tick_id}/",
    }


async def after_a_while(site: Served, told: str) -> Page:
    """The page as soon as it says this: what it shows may be a second old."""
    give_up_at = time.monotonic() + patience()
    while not (page := await site.reader().get("/console/")).says(told):
        assert time.monotonic() < give_up_at, page.main.text
    return page


@ensureDeferred
async def test_it_counts_intake_and_who_gets_nothing(site: Served, reader: Reader) -> None:
    site.direct.rows(
        "INSERT INTO intake (outcome, reason, fields, caller, action)"
        " VALUES ('created', '', '{}', 'hub', 'POST'), ('refused', 'invalid', '{lang}', 'hub', 'P')"
    )
    group = SilentGroup(
        cause="translation", messageset_id=MOTHERS, lang="xho_ZA", schedule_id=MORNING
    )
    await site.api.database.transact(silent_subscriptions.keep_counts, active=12, counts={group: 1})
    page = await reader.get("/console/")
    assert page.says("1 new subscriptions")
    assert page.says("invalid: 1")
    told = "1: It waits for a translation"
    assert page.links()[told] == "/console/behind/silent/?cause=translation"


@ensureDeferred
async def test_it_answers_the_five_questions(site: Served, reader: Reader) -> None:
    tick_id = await tick(site, sent=1, unaddressed=1)
    page = await reader.get("/console/")
    answers = questions(page)
    assert list(answers) == [
        "Who did not get it, and why?",
        "What goes out if I press start?",
        "What happens to those under way?",
        "What happens after an outage?",
        "Whose clock is it?",
    ]
    links = page.links()
    assert links["The last tick in which somebody got nothing"] == f"/console/ticks/{tick_id}/"
    choice = await reader.get("/console/start/")
    assert (await reader.get(choice.links()["What would schedule 1 send?"])).heading == (
        "Start schedule 1 now?"
    )
    assert "A changed text is sent" in answers["What happens to those under way?"]
    assert "Nobody" in answers["What happens after an outage?"] or (
        "nobody gets it twice" in answers["What happens after an outage?"]
    )
    assert answers["Whose clock is it?"] == (
        "sbm itself ticks, by the clock of its database. Schedules without a time zone of their"
        " own are read in Africa/Johannesburg. The times on these pages are of Africa/Johannesburg."
    )


@ensureDeferred
async def test_who_may_see_no_people_sees_the_numbers(site: Served) -> None:
    await tick(site, unaddressed=1)
    page = await site.reader("operate").get("/console/")
    assert page.says("1 failed: the person has no number")
    assert not any("people" in place for place in page.links().values())


@ensureDeferred
async def test_a_stopped_tick_and_a_missed_one_say_so(site: Served, reader: Reader) -> None:
    tick_id = await tick(site)
    await site.api.database.transact(ticks.stop, tick_id=tick_id, stopped_by="uma")
    site.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at)"
        " VALUES ('clock', 'missed', 2, now())"
    )
    page = await reader.get("/console/")
    assert page.says("It was stopped for good.")
    assert page.says("missed: nothing is sent for it")


@ensureDeferred
async def test_of_very_many_that_got_nothing_a_part_is_counted(
    site: Served, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_report, "MOST_UNSENT", 3)
    await tick(site, unaddressed=5)
    page = await reader.get("/console/")
    assert page.says("a part of them: 3 failed: the person has no number")


@ensureDeferred
async def test_if_nobody_was_left_out_it_says_so(site: Served, reader: Reader) -> None:
    tick_id = await tick(site, sent=12)
    page = await reader.get("/console/")
    place = page.links()["Nobody was left out today: the last tick"]
    assert place == f"/console/ticks/{tick_id}/"
    assert (await reader.get(place)).says("Everybody got it.")
