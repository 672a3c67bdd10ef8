"""The schedules: in words, with their next ticks, made and changed."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from sbm.console.cron_words import words
from sbm.console.language_tags import spoken, tag
from sbm.console.texts import translations
from sbm.model.cron import Cron
from tests.console.conftest import Served
from tests.console.reader import Reader

SCHEDULES = "/console/content/schedules/"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "every day every minute"),
        ({"minute": "0", "hour": "8"}, "every day at 08:00"),
        ({"minute": "0", "hour": "8", "day_of_week": "1,4"}, "Monday and Thursday at 08:00"),
        (
            {"minute": "0", "hour": "8,18", "day_of_week": "1-5", "month_of_year": "1"},
            "Monday to Friday at 08:00 and 18:00, in January",
        ),
        ({"minute": "30", "hour": "9", "day_of_week": "0,6"}, "Saturday and Sunday at 09:30"),
        ({"minute": "*/15"}, "every day every 15 minutes"),
        ({"minute": "5"}, "every day at minute 5 of every hour"),
        ({"minute": "0", "hour": "8-18"}, "every day at minute 0 of the hours 8 to 18"),
        ({"hour": "8,9"}, "every day every minute in the hours 8 and 9"),
        (
            {"minute": "0", "hour": "8", "day_of_month": "1,15"},
            "on day 1 and 15 of the month at 08:00",
        ),
        (
            {"minute": "0", "hour": "8", "day_of_month": "1-7", "day_of_week": "1"},
            "on Monday, if it is day 1 to 7 of the month, at 08:00",
        ),
    ],
)
def test_a_cron_in_words(fields: dict[str, str], told: str) -> None:
    assert words(Cron(**fields), translations("en"), "en") == told


def test_languages_have_the_tags_and_names_of_browsers() -> None:
    codes = ["eng_ZA", "zul", "nso_ZA", "zzz_QQ"]

    assert [tag(code) for code in codes] == ["en-ZA", "zu", "nso-ZA", "zzz-QQ"]
    assert spoken("zul_ZA", "en") == "Zulu (ZA)"
    assert spoken("zul", "fr") == "zoulou"
    assert spoken("zzz_QQ", "en") == "zzz_QQ"


@pytest_twisted.ensureDeferred
async def test_the_list_tells_them_in_words(reader: Reader) -> None:
    page = await reader.get(SCHEDULES)

    assert "Monday to Friday at 08:00" in page.links()
    assert page.says("12 people get messages on it.")
    assert page.says("Default of empty.text, pregnancy.text.")
    assert page.says("Africa/Johannesburg")


@pytest_twisted.ensureDeferred
async def test_without_schedules_it_says_what_to_do(site: Served, reader: Reader) -> None:
    for table in ("subscriptions", "messages", "messagesets", "schedules"):
        site.direct.rows(f"DELETE FROM {table}")  # noqa: S608

    assert (await reader.get(SCHEDULES)).says("There is no schedule.")
    assert (await reader.get("/console/content/new/")).says("A message set needs a schedule")


@pytest_twisted.ensureDeferred
async def test_the_next_ticks_are_told_by_its_own_clock(site: Served, reader: Reader) -> None:
    made = site.direct.schedule(minute="0", hour="8", time_zone="Asia/Kathmandu")

    page = await reader.get(f"{SCHEDULES}{made}/")

    assert page.heading == "every day at 08:00 (Asia/Kathmandu)"
    assert page.says("by the clock of Asia/Kathmandu")
    ticks = [one.text for one in page.main.one("ol").all("time")]
    assert len(ticks) == 5
    assert all(tick.endswith("08:00") for tick in ticks)


@pytest_twisted.ensureDeferred
async def test_remarks_are_told(site: Served, reader: Reader) -> None:
    made = site.direct.schedule(minute="0", hour="8", day_of_month="31", month_of_year="4")

    page = await reader.get(f"{SCHEDULES}{made}/")

    assert page.says("It is never due.")
    assert page.says("there is no day_of_month 31")


@pytest_twisted.ensureDeferred
async def test_one_is_shown_before_it_is_made(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{SCHEDULES}new/")
    page = await reader.submit(page, "Show when it is due", day_of_week="3", hour="17")
    assert page.says("Wednesday at 17:00")
    assert site.direct.value("SELECT count(*) FROM schedules") == 2

    page = await reader.submit(
        page, "Make the schedule", max_rate="50", canary="500", brake_percent="2", brake_after="50"
    )

    assert page.done == "The schedule was made: Wednesday at 17:00."
    assert page.says("A tick stops if more than 2% of at least 50 messages fail.")
    (row,) = site.direct.rows("SELECT * FROM schedules ORDER BY id DESC LIMIT 1")
    assert (row["day_of_week"], row["hour"], row["max_rate"], row["canary"]) == ("3", "17", 50, 500)


@pytest_twisted.ensureDeferred
async def test_wrong_values_are_told_at_their_fields(reader: Reader) -> None:
    page = await reader.submit(
        await reader.get(f"{SCHEDULES}new/"),
        "Make the schedule",
        hour="25",
        canary="many",
    )
    together = await reader.submit(
        page, "Make the schedule", hour="8", canary="", brake_percent="2"
    )

    assert page.status == together.status == 400
    assert "Enter a valid cron field" in page.tree.one(id="problem-hour").text
    assert page.tree.one(id="problem-canary").text == "A valid integer is required."
    assert page.tree.one("input", name="hour")["value"] == "25"
    assert "brake_percent needs it" in together.tree.one(id="problem-brake_after").text


@pytest_twisted.ensureDeferred
async def test_one_is_changed_and_an_empty_field_means_any_value(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"{SCHEDULES}1/edit/")
    assert page.says("12 people get messages on this schedule.")

    page = await reader.submit(page, "Save", day_of_week="", reason="daily")

    assert page.done == "The schedule was changed: every day at 08:00."
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert (entry["before"], entry["after"]) == ({"day_of_week": "1-5"}, {"day_of_week": "*"})
    assert (entry["actor"], entry["reason"]) == ("ann", "daily")


@pytest_twisted.ensureDeferred
async def test_one_that_has_changed_meanwhile_is_shown_again(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{SCHEDULES}1/edit/")
    site.direct.rows("UPDATE schedules SET hour = '9' WHERE id = 1")

    page = await reader.submit(page, "Save", minute="30")

    assert page.status == 409
    assert page.says("Hours of the day: 9 → 8")
    page = await reader.submit(page, "Save")
    assert page.done
    assert site.direct.value("SELECT hour || ':' || minute FROM schedules WHERE id = 1") == "8:30"


@pytest_twisted.ensureDeferred
async def test_only_an_unused_one_is_deleted(site: Served, reader: Reader) -> None:
    used = await reader.get(f"{SCHEDULES}1/delete/")
    assert used.says("These sets have it as their default: empty.text, pregnancy.text.")
    made = site.direct.schedule(minute="0")

    page = await reader.submit(
        await reader.get(f"{SCHEDULES}{made}/delete/"), "Delete the schedule", reason="unused"
    )

    assert page.done == "The schedule was deleted."
    assert site.direct.value("SELECT count(*) FROM schedules WHERE id = %s", made) == 0


@pytest.mark.parametrize("path", ["new/", "1/edit/", "1/delete/"])
@pytest_twisted.ensureDeferred
async def test_only_editors_change_them(site: Served, path: str) -> None:
    other = site.reader("operate")
    assert (await other.get(f"{SCHEDULES}1/")).status == 200
    assert (await other.get(f"{SCHEDULES}{path}")).status == 403
    await other.get(SCHEDULES)

    answer = await other.post(f"{SCHEDULES}{path}", minute="1", once="x", seen="x")

    assert answer.status == 403
    assert site.direct.value("SELECT minute FROM schedules WHERE id = 1") == "0"


@pytest_twisted.ensureDeferred
async def test_an_editor_who_may_not_publish_changes_none_that_is_in_use(site: Served) -> None:
    editor = site.reader("content.edit")
    made = site.direct.schedule(minute="0")

    page = await editor.get(f"{SCHEDULES}1/edit/")
    assert page.says("To change it, you need the permission content.publish.")
    fields: dict[str, Any] = page.fields() | {"minute": "1"}
    used = await editor.post(f"{SCHEDULES}1/edit/", **fields)
    unused = await editor.submit(await editor.get(f"{SCHEDULES}{made}/edit/"), "Save", minute="1")

    assert used.status == 403
    assert unused.done


@pytest.mark.parametrize("path", ["99/", "x/", "99/edit/", "99/delete/"])
@pytest_twisted.ensureDeferred
async def test_no_such_schedule(reader: Reader, path: str) -> None:
    assert (await reader.get(f"{SCHEDULES}{path}")).status == 404
