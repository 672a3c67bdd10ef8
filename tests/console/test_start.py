"""Start: what goes out if I press start?"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.store import ticks
from tests.console.conftest import Served
from tests.console.content import MORNING, NOBODY, OTHERS, TWICE_A_WEEK
from tests.console.reader import Page, Reader
from tests.console.test_today import tick

HERE = f"/console/start/{MORNING}/"


def button(page: Page) -> str:
    """The button that starts it."""
    (found,) = page.form("").all("button", class_="main")
    return found.text


async def press(reader: Reader, page: Page, **fields: Any) -> Page:
    return await reader.submit(page, button(page), **{"reason": "asked for", **fields})


def opened(site: Served) -> list[dict[str, Any]]:
    return site.direct.rows("SELECT id, opened_by FROM ticks WHERE source <> 'single' ORDER BY id")


@ensureDeferred
async def test_each_schedule_can_be_chosen(site: Served, reader: Reader) -> None:
    await tick(site)
    page = await reader.get("/console/start/")
    assert [row[0] for row in page.rows()[1:]] == [
        f"What would schedule {number} send?" for number in (MORNING, TWICE_A_WEEK)
    ]
    assert "pregnancy.text" in page.rows()[1][1]
    assert page.rows()[1][2] == "Monday to Friday at 08:00 (Africa/Johannesburg)"
    assert page.rows()[1][5].startswith("tick ")


@ensureDeferred
async def test_without_a_schedule_it_leads_to_content(site: Served, reader: Reader) -> None:
    site.direct.rows("DELETE FROM subscriptions")
    site.direct.rows("DELETE FROM messagesets")
    site.direct.rows("DELETE FROM schedules")
    page = await reader.get("/console/start/")
    assert page.says("There is no schedule yet.")
    assert page.links()["To Content"] == "/console/content/"


@ensureDeferred
async def test_it_counts_what_would_go_out_and_sends_nothing(site: Served, reader: Reader) -> None:
    page = await reader.get(HERE)
    assert page.heading == f"Start schedule {MORNING} now?"
    figures = [one.text for one in page.main.all("span", class_="figure")]
    assert figures[:3] == ["12", "0", "0"]
    assert page.rows(0)[0] == ["Message set", "Language", "People", "Short messages"]
    assert page.rows(0)[1] == ["pregnancy.text", "eng_ZA", "6", "6"]
    assert page.rows(1)[0][2] == "Number"
    assert button(page) == "Start: send to 12 people"
    assert opened(site) == []
    assert site.direct.value("SELECT count(*) FROM sends") == 0


@ensureDeferred
async def test_it_tells_who_gets_nothing_and_hides_who_they_are(
    site: Served, reader: Reader
) -> None:
    tick_id = await tick(site, sent=2)
    page = await reader.get(HERE)
    assert page.says(f"Tick {tick_id} of this schedule is still being sent: 10 messages wait.")
    assert page.says("Nobody would get a message.")
    (row,) = page.rows(0)[1:]
    assert row[:3] == ["the tick before it was still being sent", "skipped", "12"]
    assert not any(str(one) in page.text for one in OTHERS)


@ensureDeferred
async def test_it_is_started_once_with_its_limits_and_audited(site: Served, reader: Reader) -> None:
    page = await reader.get(HERE)
    done = await press(reader, page, canary="5", brake_percent="10", brake_after="4")
    ((row),) = opened(site)
    assert row["opened_by"] == "ann"
    assert done.heading == f"Tick {row['id']}"
    assert done.done == f"Tick {row['id']} of schedule {MORNING} has begun."
    again = await press(reader, page, canary="5", brake_percent="10", brake_after="4")
    assert again.heading == done.heading
    assert len(opened(site)) == 1
    (watched,) = site.direct.rows("SELECT canary, brake_percent, brake_after FROM watched_ticks")
    assert tuple(watched.values()) == (5, 10, 4)
    (schedule,) = site.direct.rows(
        "SELECT canary, brake_percent FROM schedules WHERE id = %s", MORNING
    )
    assert tuple(schedule.values()) == (None, None)
    (entry,) = site.direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE table_name IS NULL"
    )
    assert (entry["actor"], entry["action"], entry["reason"]) == (
        "ann",
        f"console {HERE}",
        "asked for",
    )
    assert entry["details"]["tick"] == row["id"]


@ensureDeferred
async def test_the_limits_of_the_schedule_are_there_and_can_be_left_out(
    site: Served, reader: Reader
) -> None:
    site.direct.rows("UPDATE schedules SET canary = 3, brake_percent = 5, brake_after = 50")
    page = await reader.get(HERE)
    assert page.says("after its first 3 messages it waits for a person")
    fields = page.fields(button(page))
    assert (fields["canary"], fields["brake_percent"], fields["brake_after"]) == ("3", "5", "50")
    await press(reader, page, canary="", brake_percent="", brake_after="")
    assert len(opened(site)) == 1
    assert site.direct.rows("SELECT * FROM watched_ticks") == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"canary": "x"}, "Enter a whole number from 1 to 10000000, or nothing."),
        ({"canary": "0"}, "Enter a whole number from 1"),
        ({"brake_percent": "100", "brake_after": "5"}, "Enter a whole number from 0 to 99"),
        ({"brake_percent": "5"}, "Enter both numbers of the brake, or none."),
        ({"brake_after": "5"}, "Enter both numbers of the brake, or none."),
        ({"reason": " "}, "Say why"),
    ],
)
@ensureDeferred
async def test_a_wrong_field_is_named_and_nothing_is_started(
    site: Served, reader: Reader, fields: dict[str, str], told: str
) -> None:
    refused = await press(reader, await reader.get(HERE), **fields)
    assert refused.status == 400
    assert refused.says("Nothing was started")
    assert refused.says(told)
    assert opened(site) == []
    name, value = next(iter(fields.items()))
    if name != "reason":
        assert refused.fields(button(refused))[name] == value
    await press(reader, refused, canary="", brake_percent="", brake_after="")
    assert len(opened(site)) == 1


@ensureDeferred
async def test_if_the_world_has_moved_both_pictures_are_shown(site: Served, reader: Reader) -> None:
    page = await reader.get(HERE)
    site.direct.rows("UPDATE subscriptions SET active = false WHERE lang = 'zul_ZA'")
    changed = await press(reader, page)
    assert changed.status == 409
    assert changed.says("Nothing was started: too much has changed since you looked.")
    assert changed.rows(0)[1] == ["sent", "–", "12", "7"]
    assert opened(site) == []
    done = await press(reader, changed)
    assert done.done.endswith("has begun.")
    assert len(opened(site)) == 1


@pytest.mark.parametrize("token", ["", "x", "7656fa41-0000-4000-8000-00000000ffff", "old"])
@ensureDeferred
async def test_what_is_too_old_is_counted_again(site: Served, reader: Reader, token: str) -> None:
    page = await reader.get(HERE)
    if token == "old":
        site.direct.rows("UPDATE simulations SET made_at = now() - interval '2 days'")
        fields: dict[str, Any] = {}
    else:
        fields = {"token": token}
    refused = await press(reader, page, **fields)
    assert (refused.status, refused.says("what you saw is too old")) == (409, True)
    assert opened(site) == []
    await press(reader, await reader.get(HERE))
    assert len(opened(site)) == 1


@ensureDeferred
async def test_the_token_of_another_schedule_starts_nothing(site: Served, reader: Reader) -> None:
    other = await reader.get(f"/console/start/{TWICE_A_WEEK}/")
    fields = other.fields(button(other))
    told: dict[str, Any] = {**fields, "reason": "x"}
    refused = await reader.post(HERE, **told)
    assert refused.status == 409
    assert opened(site) == []


@ensureDeferred
async def test_the_page_takes_less_than_20_kb(site: Served, reader: Reader) -> None:
    for number in range(30):
        messageset = site.direct.messageset(
            f"set{number}.text", MORNING, langs=("eng_ZA", "zul_ZA", "xho_ZA")
        )
        for lang in ("eng_ZA", "zul_ZA", "xho_ZA"):
            for place in (1, 2, 3):
                site.direct.subscriptions(
                    1, messageset, MORNING, lang=lang, next_sequence_number=place
                )
    answer = await site.api.send(
        "GET",
        HERE,
        None,
        {"Cookie": f"sbm-local={reader.cookies['sbm-local']}", "Accept-Encoding": "gzip"},
    )
    assert int(answer.header("Content-Length") or 0) < 20_000


@ensureDeferred
async def test_there_is_no_such_schedule(reader: Reader) -> None:
    assert (await reader.get("/console/start/99/")).status == 404
    assert (await reader.get("/console/start/x/")).status == 404


@ensureDeferred
async def test_who_may_only_read_people_sees_it_and_cannot_start(site: Served) -> None:
    reader = site.reader("people.read")
    page = await reader.get(HERE)
    assert page.says("you need the permission operate")
    assert page.main.all("form") == []
    refused = await reader.post(HERE, token=str(uuid4()), once="a", seen="", reason="x")
    assert refused.status == 403
    assert opened(site) == []


@ensureDeferred
async def test_others_do_not_see_it(site: Served) -> None:
    reader = site.reader(NOBODY)
    for path in ("/console/start/", HERE):
        assert (await reader.get(path)).status == 403


@ensureDeferred
async def test_a_stopped_tick_does_not_stand_in_the_way(site: Served, reader: Reader) -> None:
    tick_id = await tick(site)
    await site.api.database.transact(ticks.stop, tick_id=tick_id, stopped_by="uma")
    page = await reader.get(HERE)
    assert button(page) == "Start: send to 12 people"
