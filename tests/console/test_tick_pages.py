"""Ticks: the list, a tick with its people, and what a person can do with it."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.console import tick_words, wording
from sbm.model.hold import HOLDS
from sbm.model.ledger_entry import OUTCOMES, REASON_KINDS, STAGES
from sbm.model.tick import TickState
from sbm.pipeline.ticks import Expansion
from sbm.store import sends, ticks
from tests.console.conftest import Served
from tests.console.content import MORNING, NOBODY, OTHERS, TWICE_A_WEEK
from tests.console.reader import Reader
from tests.console.test_today import tick
from tests.web.resources.test_people import ticks_in_a_row

MINUTE = timedelta(minutes=1)

ACTIONS = ("pause", "resume", "release", "stop")


async def claim(site: Served, limit: int) -> int:
    claimed = await site.api.database.transact(
        sends.claim, owner=uuid4(), limit=limit, lease=MINUTE
    )
    return len(claimed)


def audited(site: Served) -> list[dict[str, Any]]:
    """What the console's users did, apart from changes of rows."""
    return site.direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE table_name IS NULL ORDER BY id"
    )


@ensureDeferred
async def test_the_list_has_the_newest_first_and_pages(site: Served, reader: Reader) -> None:
    site.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at)"
        " SELECT 'post-back', 'expanded', %s, now() - make_interval(hours => n)"
        " FROM generate_series(1, 60) n",
        TWICE_A_WEEK,
    )
    await tick(site, sent=12)
    page = await reader.get("/console/ticks/")
    assert len(page.rows()) == 51
    assert page.rows()[1][2:4] == ["ended", "12 of 12 · 100%"]
    following = await reader.get(page.links()["Further"])
    assert len(following.rows()) == 12
    assert (await reader.get(following.links()["Back"])).rows() == page.rows()
    of_one = await reader.submit(page, "Show", schedule=str(MORNING))
    assert (of_one.heading, len(of_one.rows())) == (f"Ticks of schedule {MORNING}", 2)


@ensureDeferred
async def test_an_empty_list_says_what_to_do(reader: Reader) -> None:
    page = await reader.get("/console/ticks/")
    assert page.says("There are no ticks here.")
    assert page.links()["To Start"] == "/console/start/"


@pytest.mark.parametrize(
    "path", ["/console/ticks/7/", "/console/ticks/7/people", "/console/ticks/x/"]
)
@ensureDeferred
async def test_there_is_no_such_tick(reader: Reader, path: str) -> None:
    assert (await reader.get(path)).status == 404


@ensureDeferred
async def test_the_tick_of_single_sends_has_no_page(site: Served, reader: Reader) -> None:
    subscription = site.direct.value("SELECT id FROM subscriptions LIMIT 1")
    await site.api.database.transact(sends.owe, subscription_id=subscription)
    tick_id = site.direct.value("SELECT id FROM ticks")
    assert (await reader.get(f"/console/ticks/{tick_id}/")).status == 404


@ensureDeferred
async def test_a_tick_tells_its_outcomes_and_each_reason_leads_to_people(
    site: Served, reader: Reader
) -> None:
    tick_id = await tick(site, sent=3, unaddressed=2)
    page = await reader.get(f"/console/ticks/{tick_id}/")
    assert page.says("5 of 12")
    assert page.rows(0)[1:] == [["sent", "3"], ["failed", "2"]]
    assert page.rows(1)[1:] == [
        ["the person has no number", "failed", "asking the Identity Store for the number", "2"]
    ]
    people = await reader.get(
        f"/console/ticks/{tick_id}/" + page.links()["the person has no number"]
    )
    assert len(people.rows()) == 3
    everybody = await reader.get(f"/console/ticks/{tick_id}/people")
    assert len(everybody.rows()) == 6


@ensureDeferred
async def test_those_who_were_skipped_again_are_told_of(site: Served, reader: Reader) -> None:
    first, _, third = await ticks_in_a_row(site.api.database, MORNING, 3)
    told = "12 people were skipped by earlier ticks for the same reason"
    page = await reader.get(f"/console/ticks/{third}/")
    assert page.rows(0)[1:] == [["skipped", "12"]]
    why = "another message was still being sent to the person"
    assert page.rows(1)[1:] == [[why, "skipped", "before it began", "12"]]
    assert page.says(told)
    people = await reader.get(f"/console/ticks/{third}/" + page.links()[why])
    assert people.says(told)
    assert people.says("Nobody is in this list")
    assert not (await reader.get(f"/console/ticks/{first}/people")).says(told)


@ensureDeferred
async def test_identities_are_hidden_until_somebody_asks_which_is_recorded(
    site: Served, reader: Reader
) -> None:
    tick_id = await tick(site, sent=1, unaddressed=11)
    here = f"/console/ticks/{tick_id}/people?outcome=failed&stage=address&reason_kind=no-address"
    page = await reader.get(here)
    assert not any(str(one) in page.text for one in OTHERS)
    assert audited(site) == []
    shown = await reader.submit(page, "Show the identities")
    assert shown.status == 200
    assert sum(str(one) in shown.text for one in OTHERS) >= 9
    (entry,) = audited(site)
    assert (entry["actor"], entry["action"]) == ("ann", f"console /console/ticks/{tick_id}/people")
    assert entry["details"] == {
        "what": "show",
        "tick": tick_id,
        "outcome": "failed",
        "stage": "address",
        "reason_kind": "no-address",
    }


@ensureDeferred
async def test_a_list_of_people_is_a_csv_file(site: Served, reader: Reader) -> None:
    tick_id = await tick(site, sent=2, unaddressed=3)
    page = await reader.get(f"/console/ticks/{tick_id}/people?outcome=failed")
    file = await reader.submit(page, "Download all as CSV")
    assert file.header("Content-Type") == "text/csv; charset=utf-8"
    assert file.header("Content-Disposition") == f'attachment; filename="tick-{tick_id}.csv"'
    rows = list(csv.DictReader(file.text.splitlines()))
    assert [row["reason_kind"] for row in rows] == ["no-address"] * 3
    assert {row["tick"] for row in rows} == {str(tick_id)}
    (entry,) = audited(site)
    assert entry["details"]["what"] == "csv"


@ensureDeferred
async def test_people_have_pages(site: Served, reader: Reader) -> None:
    site.direct.subscriptions(60, 1, MORNING)
    tick_id = await tick(site)
    await site.api.database.transact(ticks.stop, tick_id=tick_id, stopped_by="uma")
    await site.api.database.transact(ticks.skip_stopped, limit=100)
    page = await reader.get(f"/console/ticks/{tick_id}/people?reason_kind=stopped&outcome=skipped")
    assert page.status == 400  # these are served together with a stage alone
    page = await reader.get(
        f"/console/ticks/{tick_id}/people?outcome=skipped&stage=trigger&reason_kind=stopped"
    )
    assert len(page.rows()) == 51
    following = await reader.get(page.links()["Further"])
    assert len(following.rows()) == 23


@pytest.mark.parametrize("query", ["outcome=x", "stage=x", "reason_kind=x", "cursor=x"])
@ensureDeferred
async def test_filters_that_mean_nothing_are_refused(
    site: Served, reader: Reader, query: str
) -> None:
    tick_id = await tick(site)
    assert (await reader.get(f"/console/ticks/{tick_id}/people?{query}")).status == 400


@ensureDeferred
async def test_a_tick_is_stopped_for_good(site: Served, reader: Reader) -> None:
    tick_id = await tick(site, sent=2)
    assert await claim(site, 1) == 1
    page = await reader.get(f"/console/ticks/{tick_id}/stop")
    assert page.heading == f"Stop tick {tick_id} for good"
    assert page.says("10 people do not get the message of this tick.")
    assert page.says("It cannot be undone.")
    done = await reader.submit(page, "Stop it for good", reason="wrong texts")
    assert done.done == "The tick is stopped. What is left of it is being skipped."
    while await Expansion(database=site.api.database, owed=lambda: None).one_pass():
        pass
    page = await reader.get(f"/console/ticks/{tick_id}/")
    assert page.says("stopped: ann")
    assert page.rows(1)[1:] == [["a person stopped the tick", "skipped", "before it began", "9"]]
    (entry,) = audited(site)
    assert (entry["actor"], entry["reason"]) == ("ann", "wrong texts")
    assert entry["action"] == f"console /console/ticks/{tick_id}/stop"
    assert "Stop it for good" not in page.links()
    again = await reader.get(f"/console/ticks/{tick_id}/stop")
    assert again.says("It is stopped already.")
    assert again.main.all("form") == []


@ensureDeferred
async def test_a_form_that_is_sent_twice_stops_once(site: Served, reader: Reader) -> None:
    tick_id = await tick(site)
    page = await reader.get(f"/console/ticks/{tick_id}/stop")
    for _ in range(2):
        done = await reader.submit(page, "Stop it for good", reason="wrong texts")
        assert done.done.startswith("The tick is stopped.")
    assert len(audited(site)) == 1


@ensureDeferred
async def test_sending_may_go_on_while_somebody_thinks_but_no_more_people_may_come(
    site: Served, reader: Reader
) -> None:
    site.direct.subscriptions(100, 1, MORNING)
    tick_id = await tick(site)
    page = await reader.get(f"/console/ticks/{tick_id}/stop")
    site.direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " SELECT 'next', 'tick', gen_random_uuid(), 'x', %s FROM generate_series(1, 20)",
        tick_id,
    )
    site.direct.rows("UPDATE ticks SET triggers = triggers + 20")
    changed = await reader.submit(page, "Stop it for good", reason="wrong texts")
    assert changed.status == 409
    assert changed.says("Nothing was done: it has changed since you looked.")
    assert changed.says("people do not get the message of this tick.")
    assert audited(site) == []
    site.direct.rows("DELETE FROM sends WHERE identity = 'x'")
    done = await reader.submit(changed, "Stop it for good", reason="wrong texts")
    assert done.done.startswith("The tick is stopped.")


@ensureDeferred
async def test_its_schedule_is_paused_and_goes_on(site: Served, reader: Reader) -> None:
    tick_id = await tick(site, sent=2)
    page = await reader.get(f"/console/ticks/{tick_id}/pause")
    assert page.says("10 messages of this tick wait until somebody ends the pause.")
    done = await reader.submit(page, "Pause it", reason="the texts are checked")
    assert done.done.startswith("The schedule is being paused.")
    assert done.says("It is paused.")
    assert done.says("ann since")
    assert await claim(site, 1) == 0
    (pause,) = site.direct.rows("SELECT lane, schedule_id, on_ticks, reason FROM pauses")
    assert tuple(pause.values()) == ("tick", MORNING, "later", "the texts are checked")
    assert site.direct.value("SELECT count(*) FROM audit WHERE table_name = 'pauses'") == 1
    again = await reader.get(f"/console/ticks/{tick_id}/pause")
    assert again.says("It is paused already.")
    (place,) = (one for text, one in done.links().items() if text.startswith("End pause"))
    page = await reader.get(f"/console/ticks/{tick_id}/{place}")
    done = await reader.submit(page, "End the pause")
    assert done.done == "The pause has ended. What was held back is sent now."
    assert await claim(site, 1) == 1


@ensureDeferred
async def test_a_pause_of_another_schedule_is_not_ended_here(site: Served, reader: Reader) -> None:
    tick_id = await tick(site)
    other = site.direct.value(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by, schedule_id)"
        " VALUES ('operator', 'x', 'later', 'uma', %s) RETURNING id",
        TWICE_A_WEEK,
    )
    for told in (str(other), "999", "x", ""):
        assert (await reader.get(f"/console/ticks/{tick_id}/resume?pause={told}")).status == 404


@ensureDeferred
async def test_a_pause_of_a_message_set_does_not_prevent_one_of_the_schedule(
    site: Served, reader: Reader
) -> None:
    tick_id = await tick(site, sent=2)
    site.direct.rows(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by, messageset_id)"
        " SELECT 'operator', 'x', 'later', 'uma', max(id) FROM messagesets"
    )
    assert "Pause its schedule" in (await reader.get(f"/console/ticks/{tick_id}/")).links()
    page = await reader.get(f"/console/ticks/{tick_id}/pause")
    done = await reader.submit(page, "Pause it", reason="the texts are checked")
    assert done.done.startswith("The schedule is being paused.")
    assert await claim(site, 20) == 0


@ensureDeferred
async def test_a_tick_after_its_canary_goes_on(site: Served, reader: Reader) -> None:
    site.direct.rows("UPDATE schedules SET canary = 2")
    tick_id = await tick(site, sent=2)
    page = await reader.get(f"/console/ticks/{tick_id}/")
    assert page.says("It waits for a person after its first messages.")
    assert page.says("It waits for a person after 2 messages.")
    page = await reader.get(f"/console/ticks/{tick_id}/release")
    assert page.says("Of 2 messages, 0 were refused or failed.")
    done = await reader.submit(page, "Let it go on", reason="they are right")
    assert done.done == "The tick goes on."
    assert await claim(site, 20) == 10
    assert [one["reason"] for one in audited(site)] == ["they are right"]
    again = await reader.get(f"/console/ticks/{tick_id}/release")
    assert again.says("Nothing holds it that a person could release.")


@pytest.mark.parametrize("action", ACTIONS)
@ensureDeferred
async def test_only_who_may_operate_can_do_it(site: Served, action: str) -> None:
    tick_id = await tick(site)
    reader = site.reader("people.read")
    page = await reader.get(f"/console/ticks/{tick_id}/")
    assert page.status == 200
    assert action not in page.links().values()
    assert (await reader.get(f"/console/ticks/{tick_id}/{action}")).status == 403
    refused = await reader.post(f"/console/ticks/{tick_id}/{action}", reason="x", once="a", seen="")
    assert refused.status == 403
    assert audited(site) == []


@ensureDeferred
async def test_only_who_may_read_people_sees_them(site: Served) -> None:
    tick_id = await tick(site, unaddressed=1)
    reader = site.reader(NOBODY)
    page = await reader.get(f"/console/ticks/{tick_id}/")
    assert page.says("the person has no number")
    assert not any(place.startswith("people") for place in page.links().values())
    assert (await reader.get(f"/console/ticks/{tick_id}/people")).status == 403
    refused = await reader.post(f"/console/ticks/{tick_id}/people", what="csv")
    assert refused.status == 403
    assert audited(site) == []


def test_there_are_words_for_everything_that_a_page_of_a_tick_tells() -> None:
    assert set(tick_words.OUTCOME_WORDS) == set(OUTCOMES)
    assert set(tick_words.HOLD_WORDS) == set(HOLDS)
    assert set(tick_words.STATE_WORDS) > set(get_args(TickState))
    assert set(wording.REASONS) == set(REASON_KINDS)
    assert set(wording.STAGES) == set(STAGES)
