"""The message sets, and the grid of one."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
import pytest_twisted

from tests.console.conftest import Served
from tests.console.content import BABIES, EMPTY, MOTHERS, NURSES, USUAL
from tests.console.reader import Reader, query_of

CONTENT = "/console/content/"
GRID = f"{CONTENT}{MOTHERS}/"


@pytest_twisted.ensureDeferred
async def test_the_list_says_what_each_set_has_and_who_is_in_it(reader: Reader) -> None:
    page = await reader.get(CONTENT)

    rows = {row[0].split()[0]: row[1:] for row in page.rows()}
    assert rows["pregnancy.text"][:4] == [
        "texts",
        "Monday to Friday at 08:00",
        "baby1.text",
        "eng_ZA, xho_ZA, zul_ZA",
    ]
    assert rows["pregnancy.text"][4] == "14"
    assert rows["pregnancy.text"][5].startswith("1 send the next message")
    assert rows["pregnancy.text"][6] == "12"
    assert rows["empty.text"][3:] == ["–", "0", "0", "0"]


@pytest_twisted.ensureDeferred
async def test_without_sets_it_says_what_to_do(site: Served, reader: Reader) -> None:
    for table in ("subscriptions", "messages", "messagesets"):
        site.direct.rows(f"DELETE FROM {table}")  # noqa: S608

    page = await reader.get(CONTENT)

    assert page.says("There is no message set.")


@pytest.mark.parametrize("path", [CONTENT, f"{CONTENT}schedules/"])
@pytest_twisted.ensureDeferred
async def test_beyond_the_end_of_a_list_it_leads_back_to_the_beginning(
    reader: Reader, path: str
) -> None:
    beyond = await reader.get(f"{path}?after={2**63 - 1}")
    assert beyond.links()["Back"] == path
    assert (await reader.get(f"{path}?after=x")).status == 400
    assert (await reader.get(f"{path}?before={2**63}")).status == 400


@pytest_twisted.ensureDeferred
async def test_a_set_is_made_once_and_audited(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{CONTENT}new/")
    fields: dict[str, Any] = page.fields("Make the message set")
    fields |= {"short_name": "new.text", "reason": "more"}

    first = await reader.post(f"{CONTENT}new/", **fields)
    second = await reader.post(f"{CONTENT}new/", **fields)

    assert first.status == second.status == 303
    assert first.place == second.place
    page = await reader.read(reader.inside(first.place))
    assert page.done == "The message set “new.text” was made."
    assert page.says("This set has no messages yet")
    (entry,) = site.direct.rows("SELECT * FROM audit WHERE table_name = 'messagesets'")
    assert (entry["actor"], entry["reason"], entry["operation"]) == ("ann", "more", "insert")
    assert entry["action"] == "console /console/content/new/"


@pytest_twisted.ensureDeferred
async def test_wrong_values_are_told_at_their_fields_and_kept(reader: Reader) -> None:
    page = await reader.submit(
        await reader.get(f"{CONTENT}new/"),
        "Make the message set",
        short_name="pregnancy.text",
        send_hours="8 to 9",
    )

    assert page.status == 400
    assert page.tree.one(id="problem-send_hours").text == "Enter hours such as 08:00-20:00."
    assert "already exists" in page.tree.one(id="problem-short_name").text
    assert "problem-send_hours" in page.tree.one("input", name="send_hours")["aria-describedby"]
    assert page.tree.one("input", name="send_hours")["value"] == "8 to 9"

    page = await reader.submit(
        page, "Make the message set", short_name="new.text", send_hours="08:00-09:00"
    )

    assert page.done == "The message set “new.text” was made."


@pytest_twisted.ensureDeferred
async def test_all_fields_of_a_set_are_changed(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{GRID}edit/")
    assert page.says("12 people are under way in this set, and get what you change.")

    page = await reader.submit(
        page,
        "Save",
        label="For mothers",
        next_set="",
        on_missing_translation="fallback:eng_ZA",
        max_age="3600",
        send_hours="08:00-20:00",
        default_schedule="2",
        notes="one\r\ntwo",
    )

    assert page.done == "The message set “pregnancy.text” was changed."
    (row,) = site.direct.rows("SELECT * FROM messagesets WHERE id = %s", MOTHERS)
    assert row["label"] == "For mothers"
    assert row["next_set_id"] is None
    assert row["on_missing_translation"] == "fallback:eng_ZA"
    assert (row["max_age"], row["send_hours"]) == (3600, "08:00-20:00")
    assert (row["default_schedule_id"], row["notes"]) == (2, "one\ntwo")


@pytest_twisted.ensureDeferred
async def test_a_set_that_has_changed_meanwhile_is_shown_again(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"{GRID}edit/")
    site.direct.rows("UPDATE messagesets SET notes = 'x', updated_at = now() WHERE id = 1")

    page = await reader.submit(page, "Save", label="Mine")

    assert page.status == 409
    assert page.says("Nothing was done")
    assert page.says("Name for people: – → Mine")
    page = await reader.submit(page, "Save")
    assert page.done == "The message set “pregnancy.text” was changed."
    assert site.direct.value("SELECT label FROM messagesets WHERE id = 1") == "Mine"


@pytest_twisted.ensureDeferred
async def test_a_set_in_use_cannot_be_deleted(reader: Reader) -> None:
    page = await reader.get(f"{GRID}delete/")

    assert page.says("Subscriptions use this set, so it cannot be deleted.")
    assert not page.main.all("button")


@pytest_twisted.ensureDeferred
async def test_an_unused_set_is_deleted_with_its_messages(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{CONTENT}{NURSES}/delete/")
    assert page.says("3 messages are deleted with it.")

    page = await reader.submit(page, "Delete the message set", reason="old")

    assert page.done == "The message set “nurses.text” was deleted."
    assert site.direct.value("SELECT count(*) FROM messagesets WHERE id = %s", NURSES) == 0


@pytest_twisted.ensureDeferred
async def test_a_delete_is_refused_when_the_messages_have_changed(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"{CONTENT}{NURSES}/delete/")
    site.direct.message(NURSES, 4, "eng_ZA", "One more")

    page = await reader.submit(page, "Delete the message set", reason="old")

    assert page.status == 409
    assert page.says("4 messages are deleted with it.")
    assert site.direct.value("SELECT count(*) FROM messagesets WHERE id = %s", NURSES) == 1


@pytest_twisted.ensureDeferred
async def test_a_set_is_cloned_after_a_preview(site: Served, reader: Reader) -> None:
    page = await reader.submit(
        await reader.get(f"{GRID}clone/"),
        "Show what it would have",
        short_name="copy.text",
        next_set="none",
    )
    assert page.says("14 messages are copied.")
    assert site.direct.value("SELECT count(*) FROM messagesets") == 4

    page = await reader.submit(page, "Make the message set", reason="slots")

    assert page.done == "“copy.text” was made from “pregnancy.text”."
    made = site.direct.value("SELECT id FROM messagesets WHERE short_name = 'copy.text'")
    assert site.direct.value("SELECT count(*) FROM messages WHERE messageset_id = %s", made) == 14
    assert site.direct.value("SELECT next_set_id FROM messagesets WHERE id = %s", made) is None
    told = site.direct.value("SELECT details FROM audit WHERE details ? 'source'")
    assert told["count"] == 14


@pytest_twisted.ensureDeferred
async def test_a_clone_needs_a_name_that_nobody_has(reader: Reader) -> None:
    page = await reader.get(f"{GRID}clone/")
    taken = await reader.submit(page, "Show what it would have", short_name="baby1.text")
    blank = await reader.submit(page, "Show what it would have", short_name=" ")

    assert taken.status == blank.status == 400
    assert "already" in taken.tree.one(id="problem-short_name").text
    assert blank.tree.one(id="problem-short_name").text == "This field may not be blank."


@pytest_twisted.ensureDeferred
async def test_the_grid_says_what_is_missing_and_who_stands_there(reader: Reader) -> None:
    page = await reader.get(GRID)

    head, *rows = page.rows()
    assert head == [
        "Number",
        "English (ZA), eng_ZA 5/5 · 5 SMS",
        "Xhosa (ZA), xho_ZA 4/5 · 4 SMS",
        "Zulu (ZA), zul_ZA 5/5 · 5 SMS",
        "People here",
    ]
    assert rows[0] == ["1", "ok 1 SMS", "ok 1 SMS", "ok 1 SMS", "4"]
    assert rows[2][2] == "missing"
    assert rows[2][4] == "4 1 xho_ZA: they get number 4 next"


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("wait", "1 xho_ZA: they wait for it"),
        ("fallback:zul_ZA", "1 xho_ZA: they get it in zul_ZA"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_grid_follows_the_rule_for_missing_translations(
    site: Served, reader: Reader, policy: str, told: str
) -> None:
    site.direct.rows("UPDATE messagesets SET on_missing_translation = %s", policy)

    page = await reader.get(GRID)

    assert told in page.rows()[3][4]


@pytest_twisted.ensureDeferred
async def test_the_grid_tells_the_size_and_what_makes_it_large(
    site: Served, reader: Reader
) -> None:
    site.direct.message(EMPTY, 1, "eng_ZA", "x" * 71 + "“")
    site.direct.message(EMPTY, 2, "eng_ZA", "short", file_name="a.png")
    site.direct.message(EMPTY, 3, "eng_ZA", None, file_name="b.mp3")

    page = await reader.get(f"{CONTENT}{EMPTY}/")

    assert [row[1] for row in page.rows()[1:]] == [
        "ok 2 SMS UCS-2 “",
        "ok 1 SMS ▣ picture",
        "ok ♪ sound",
    ]
    long = await reader.get(f"{CONTENT}{EMPTY}/?show=long")
    assert [row[0] for row in long.rows()[1:]] == ["1"]
    assert long.says("1 of 3 numbers")


@pytest_twisted.ensureDeferred
async def test_the_grid_is_filtered(reader: Reader) -> None:
    missing = await reader.get(f"{GRID}?show=missing")
    found = await reader.get(f"{GRID}?text=WEEK+5")
    nothing = await reader.get(f"{GRID}?text=nowhere")

    assert [row[0] for row in missing.rows()[1:]] == ["3"]
    assert [row[0] for row in found.rows()[1:]] == ["5"]
    assert found.says("this is week 5 of MomConnect")
    assert nothing.says("No number matches.")


@pytest_twisted.ensureDeferred
async def test_those_at_a_number_without_messages_are_told(site: Served, reader: Reader) -> None:
    site.direct.subscriptions(3, MOTHERS, 1, next_sequence_number=9)

    page = await reader.get(GRID)

    assert page.says("3 people stand at a number that has no message in any language.")
    assert page.says("number 9, eng_ZA: 3; they are at the end")


@pytest_twisted.ensureDeferred
async def test_a_large_set_has_pages_of_its_numbers(site: Served, reader: Reader) -> None:
    langs = ("eng_ZA", "zul_ZA", "xho_ZA", "afr_ZA", "sot_ZA")
    large = site.direct.messageset("large", 1, messages=100, langs=langs)

    page = await reader.get(f"{CONTENT}{large}/?show=all", accept_encoding="gzip")
    numbers = [row[0] for row in page.rows()[1:]]
    assert numbers == [str(number) for number in range(1, 81)]
    assert len(gzip.compress(page.text.encode())) < 20_000
    following = await reader.get(f"{CONTENT}{large}/{page.links()['Further']}")
    assert [row[0] for row in following.rows()[1:]] == [str(number) for number in range(81, 101)]
    back = await reader.get(f"{CONTENT}{large}/{following.links()['Back']}")

    assert [row[0] for row in back.rows()[1:]] == numbers


@pytest_twisted.ensureDeferred
async def test_another_place_is_opened(reader: Reader) -> None:
    page = await reader.get(GRID)
    opened = await reader.submit(page, "Write it", number="6", lang="fra")
    assert opened.status == 303 or opened.heading == "pregnancy.text / 6 / fra"

    wrong = await reader.submit(page, "Write it", number="six", lang="fra")

    assert wrong.status == 400
    assert wrong.tree.one(id="wrong-place").text == "Enter a number, and a language such as eng_ZA."


@pytest.mark.parametrize("path", ["999/", "999/edit/", "x/", "99999999999/", "999/delete/"])
@pytest_twisted.ensureDeferred
async def test_a_set_that_does_not_exist_is_not_found(reader: Reader, path: str) -> None:
    page = await reader.get(f"{CONTENT}{path}")

    assert page.status == 404


@pytest.mark.parametrize("path", ["new/", "1/edit/", "1/delete/", "1/clone/"])
@pytest_twisted.ensureDeferred
async def test_only_editors_change_sets(site: Served, path: str) -> None:
    nobody = site.reader("people.read")
    assert (await nobody.get(CONTENT)).status == 200
    grid = await nobody.get(GRID)
    assert grid.status == 200
    assert "Change the set" not in grid.links()

    assert (await nobody.get(f"{CONTENT}{path}")).status == 403
    await nobody.get(CONTENT)
    answer = await nobody.post(f"{CONTENT}{path}", short_name="x", once="x", seen="x")

    assert answer.status == 403
    assert site.direct.value("SELECT count(*) FROM messagesets") == 4


@pytest_twisted.ensureDeferred
async def test_an_editor_who_may_not_publish_changes_only_what_nobody_gets(site: Served) -> None:
    editor = site.reader("content.edit")

    form = await editor.get(f"{GRID}edit/")
    assert form.says("To change it, you need the permission content.publish.")
    assert not form.main.all("button", text="Save")
    fields: dict[str, Any] = form.fields()
    used = await editor.post(f"{GRID}edit/", **(fields | {"label": "x"}))
    unused = await editor.submit(await editor.get(f"{CONTENT}{NURSES}/edit/"), "Save", label="x")
    fields |= (await editor.get(f"{CONTENT}{BABIES}/edit/")).fields()
    led_to = await editor.post(f"{CONTENT}{BABIES}/edit/", **(fields | {"label": "x"}))

    assert used.status == led_to.status == 403
    assert used.says("it needs content.publish")
    assert unused.done
    labels = site.direct.rows("SELECT label FROM messagesets ORDER BY id")
    assert [row["label"] for row in labels] == ["", "Babies", "x", ""]


@pytest_twisted.ensureDeferred
async def test_a_usual_user_may_publish(site: Served) -> None:
    usual = site.reader(USUAL)

    page = await usual.submit(await usual.get(f"{GRID}edit/"), "Save", label="x")

    assert page.done
    assert query_of(page.url)["done"]


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_away_is_told(site: Served, reader: Reader) -> None:
    with site.database_away():
        page = await reader.get(GRID)

    assert page.status == 503


@pytest.mark.parametrize(
    "path",
    ["", "new/", "1/", "1/edit/", "1/clone/", "1/2/eng_ZA/", "schedules/", "schedules/1/edit/"],
)
@pytest_twisted.ensureDeferred
async def test_the_pages_are_read_in_another_language(site: Served, path: str) -> None:
    french = site.reader(headers={"Accept-Language": "fr"})

    page = await french.get(f"{CONTENT}{path}")

    assert page.status == 200
    assert page.tree.one("html")["lang"] == "fr"
