"""One message: edited, counted, previewed and deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from sbm.console.actions import seen_as
from tests.console.conftest import Served
from tests.console.content import EMPTY, MOTHERS, NURSES, THANDI, THANDIS_SUBSCRIPTION
from tests.console.reader import Reader

AT = f"/console/content/{MOTHERS}/2/eng_ZA/"
MISSING = f"/console/content/{MOTHERS}/3/xho_ZA/"


def text_at(site: Served, number: int = 2, lang: str = "eng_ZA") -> str:
    text: str = site.direct.value(
        "SELECT text_content FROM messages WHERE messageset_id = %s AND sequence_number = %s"
        " AND lang = %s",
        *(MOTHERS, number, lang),
    )
    return text


@pytest_twisted.ensureDeferred
async def test_it_is_shown_beside_its_other_languages(reader: Reader) -> None:
    page = await reader.get(AT)

    assert page.heading == "pregnancy.text / 2 / eng_ZA"
    area = page.tree.one("textarea", name="text_content")
    assert area.text == "Hello {{name}}, this is week 2 of MomConnect."
    assert (area["lang"], area["dir"]) == ("en-ZA", "auto")
    (zulu,) = page.tree.all("p", lang="zu-ZA")
    assert zulu.text == "Sawubona {{name}}, leli yisonto 2 le-MomConnect."
    assert page.says("45 characters, GSM-7, 1 SMS, 111 left.")
    assert page.says("2 people get this message next.")


@pytest_twisted.ensureDeferred
async def test_a_text_is_saved_once_and_audited(site: Served, reader: Reader) -> None:
    page = await reader.get(AT)
    fields: dict[str, Any] = page.fields("Save")
    fields |= {"text_content": "One\r\ntwo", "reason": "shorter"}

    first = await reader.post(AT, **fields)
    second = await reader.post(AT, **fields)

    assert first.place == second.place
    page = await reader.read(reader.inside(first.place))
    assert page.done == "It was saved. 2 people get it next, in this wording."
    assert text_at(site) == "One\ntwo"
    (entry,) = site.direct.rows("SELECT * FROM audit WHERE table_name = 'messages'")
    assert (entry["actor"], entry["reason"]) == ("ann", "shorter")
    assert entry["after"]["text_content"] == "One\ntwo"
    links = page.links()
    name = "Its changes in the audit, where they can be undone"
    assert links[name] == f"/console/audit/?table=messages&row={entry['row_id']}"


@pytest_twisted.ensureDeferred
async def test_the_second_editor_sees_both_texts_and_chooses(site: Served) -> None:
    ann, uma = site.reader("ann"), site.reader("uma")
    of_ann, of_uma = await ann.get(AT), await uma.get(AT)
    await ann.submit(of_ann, "Save", text_content="Of Ann")

    page = await uma.submit(of_uma, "Save", text_content="Of Uma")

    assert page.status == 409
    assert page.says("Nothing was saved.")
    assert page.says("ann")
    assert page.tree.one("p", class_="message").text == "Of Ann"
    assert page.tree.one("textarea", name="text_content").text == "Of Uma"
    assert text_at(site) == "Of Ann"
    page = await uma.submit(page, "Save mine")
    assert page.done.startswith("It was saved.")
    assert text_at(site) == "Of Uma"


@pytest_twisted.ensureDeferred
async def test_the_second_who_writes_a_missing_message_sees_the_first(site: Served) -> None:
    ann, uma = site.reader("ann"), site.reader("uma")
    of_ann, of_uma = await ann.get(MISSING), await uma.get(MISSING)
    await ann.submit(of_ann, "Save", text_content="Of Ann")

    page = await uma.submit(of_uma, "Save", text_content="Of Uma")

    assert page.status == 409
    assert text_at(site, 3, "xho_ZA") == "Of Ann"


@pytest_twisted.ensureDeferred
async def test_an_edit_of_a_deleted_message_is_a_conflict(site: Served, reader: Reader) -> None:
    page = await reader.get(AT)
    site.direct.rows(
        "DELETE FROM messages WHERE messageset_id = 1 AND sequence_number = 2 AND lang = 'eng_ZA'"
    )

    page = await reader.submit(page, "Save", text_content="Again")

    assert page.status == 409
    assert page.says("It was deleted.")
    await reader.submit(page, "Save mine")
    assert text_at(site) == "Again"


@pytest_twisted.ensureDeferred
async def test_a_missing_message_is_written(site: Served, reader: Reader) -> None:
    page = await reader.get(MISSING)
    assert page.says("This message is missing. 1 person of this language stands here.")

    page = await reader.submit(page, "Save", text_content="Molo")

    assert page.done == "It was saved. 1 person gets it next, in this wording."
    assert text_at(site, 3, "xho_ZA") == "Molo"


@pytest_twisted.ensureDeferred
async def test_a_text_that_breaks_a_rule_is_told_at_its_field_and_kept(
    site: Served, reader: Reader
) -> None:
    page = await reader.submit(await reader.get(AT), "Save", text_content="“Hello”")

    assert page.status == 400
    assert "special characters" in page.tree.one(id="problem-text").text
    assert page.tree.one("textarea", name="text_content").text == "“Hello”"
    assert "week 2" in text_at(site)
    page = await reader.submit(page, "Save", text_content='"Hello"')
    assert page.done
    assert text_at(site) == '"Hello"'


@pytest_twisted.ensureDeferred
async def test_an_empty_message_is_refused(site: Served, reader: Reader) -> None:
    page = await reader.submit(await reader.get(AT), "Save", text_content=" ")

    assert page.status == 400
    assert page.says("Messages must have text or file attached")
    assert "week 2" in text_at(site)


@pytest_twisted.ensureDeferred
async def test_metadata_are_kept_changed_and_refused(site: Served, reader: Reader) -> None:
    page = await reader.submit(await reader.get(AT), "Save", metadata='{"template": "a"}')
    assert page.done
    page = await reader.submit(page, "Save", text_content="Other")
    assert page.done

    refused = await reader.submit(page, "Save", metadata="{")

    assert "JSON" in refused.tree.one(id="problem-metadata").text
    assert refused.tree.one("textarea", name="metadata").text == "{"
    sought = "SELECT metadata FROM messages WHERE text_content = 'Other'"
    assert site.direct.value(sought) == {"template": "a"}

    large = '{"template": "' + "a" * 16384 + '"}'
    refused = await reader.submit(page, "Save", metadata=large)
    told = "Ensure this value has no more than 16384 bytes as JSON."
    assert told in refused.tree.one(id="problem-metadata").text
    assert site.direct.value(sought) == {"template": "a"}

    site.direct.rows("UPDATE messages SET metadata = %s WHERE text_content = 'Other'", large)
    page = await reader.submit(await reader.get(AT), "Save", text_content="Third")
    assert page.done
    kept = site.direct.value("SELECT metadata FROM messages WHERE text_content = 'Third'")
    assert kept == json.loads(large)


@pytest_twisted.ensureDeferred
async def test_a_text_is_counted_in_the_page_and_as_a_part(reader: Reader) -> None:
    page = await reader.get(AT)
    whole = await reader.submit(page, "Count", text_content="x" * 161)
    assert whole.says("161 characters, GSM-7, 2 SMS, 145 left.")
    assert whole.tree.one("textarea", name="text_content").text == "x" * 161

    part = await reader.post(
        f"{AT}count/", text_content="sjö" + "ő" * 70, headers={"HX-Request": "true"}
    )

    assert part.status == 200
    assert not part.tree.all("html")
    assert "2 SMS" in part.tree.text
    assert "These characters make it longer" in part.tree.text
    assert "ő" in part.tree.text


@pytest_twisted.ensureDeferred
async def test_a_preview_is_composed_with_the_prepend_and_audited(
    site: Served, reader: Reader
) -> None:
    site.direct.rows(
        'UPDATE subscriptions SET metadata = \'{"prepend_next_delivery": "Dear you"}\''
        " WHERE id = %s",
        THANDIS_SUBSCRIPTION,
    )

    page = await reader.submit(
        await reader.get(AT), "Show", text_content="New text", identity=str(THANDI).upper()
    )

    preview = page.tree.one(class_="preview")
    assert preview.one("p", class_="message").text == "Dear you New text"
    assert "This person reads eng_ZA and stands at number 2." in preview.text
    assert "17 characters" in preview.text
    assert page.tree.one("textarea", name="text_content").text == "New text"
    (entry,) = site.direct.rows("SELECT * FROM audit")
    assert entry["actor"] == "ann"
    assert entry["details"]["identity"] == str(THANDI).upper()
    page = await reader.submit(page, "Save")
    assert page.done
    assert text_at(site) == "New text"


@pytest_twisted.ensureDeferred
async def test_a_preview_says_why_it_would_not_be_sent(site: Served, reader: Reader) -> None:
    site.direct.rows("UPDATE subscriptions SET metadata = '{\"prepend_next_delivery\": 7}'")

    page = await reader.submit(await reader.get(AT), "Show", identity=str(THANDI))
    stranger = await reader.submit(page, "Show", identity="nobody")
    empty = await reader.submit(page, "Show", identity=" ")

    assert page.says("It would not be sent: prepend_next_delivery")
    assert stranger.says("This person has no subscription to this set")
    assert empty.status == 400
    assert empty.tree.one(id="problem-identity").text == "Enter an identity."


@pytest_twisted.ensureDeferred
async def test_a_sound_is_previewed(site: Served, reader: Reader) -> None:
    audio = site.direct.messageset("audio", 1, messages=0, content_type="audio")
    site.direct.message(audio, 1, "eng_ZA", None, file_name="a b.mp3")

    page = await reader.submit(
        await reader.get(f"/console/content/{audio}/1/eng_ZA/"), "Show", identity=str(THANDI)
    )

    assert page.tree.one(class_="preview").one("audio")["src"] == "/media/a%20b.mp3"
    assert len(page.tree.all("audio")) == 2


@pytest_twisted.ensureDeferred
async def test_a_delete_says_what_people_get_instead(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{AT}delete/")
    assert page.says("2 people get number 3 next instead.")
    assert text_at(site)  # the rehearsal left no trace

    page = await reader.submit(page, "Delete the message", reason="wrong")

    assert page.done == "Message 2 in eng_ZA was deleted."
    assert page.rows()[2][1] == "missing"
    (entry,) = site.direct.rows("SELECT * FROM audit WHERE table_name = 'messages'")
    assert (entry["operation"], entry["reason"]) == ("delete", "wrong")


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("wait", "2 people wait until the message is there again."),
        ("fallback:zul_ZA", "2 people get it in another language: zul_ZA."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_delete_follows_the_rule_for_missing_translations(
    site: Served, reader: Reader, policy: str, told: str
) -> None:
    site.direct.rows("UPDATE messagesets SET on_missing_translation = %s", policy)

    assert (await reader.get(f"{AT}delete/")).says(told)


@pytest_twisted.ensureDeferred
async def test_the_last_message_completes_its_readers(site: Served, reader: Reader) -> None:
    site.direct.message(EMPTY, 1, "eng_ZA", "Only")
    site.direct.subscriptions(1, EMPTY, 1)

    page = await reader.get(f"/console/content/{EMPTY}/1/eng_ZA/delete/")

    assert page.says("1 person is at the end of the set then, and completes it.")


@pytest_twisted.ensureDeferred
async def test_a_delete_is_refused_when_other_people_stand_there(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(f"{AT}delete/")
    site.direct.subscriptions(1, MOTHERS, 1, next_sequence_number=2)

    page = await reader.submit(page, "Delete the message", reason="wrong")

    assert page.status == 409
    assert page.says("3 people get number 3 next instead.")
    assert text_at(site)


@pytest_twisted.ensureDeferred
async def test_a_delete_runs_once(site: Served, reader: Reader) -> None:
    page = await reader.get(f"{AT}delete/")
    fields: dict[str, Any] = page.fields("Delete the message") | {"reason": "wrong"}

    first = await reader.post(f"{AT}delete/", **fields)
    second = await reader.post(f"{AT}delete/", **fields)

    assert (first.status, second.status) == (303, 303)
    assert first.place == second.place


@pytest.mark.parametrize(
    "path", [f"{AT[:-7]}eng_ZAX/", "/console/content/1/x/eng_ZA/", "/console/content/9/1/eng_ZA/"]
)
@pytest_twisted.ensureDeferred
async def test_no_such_place(reader: Reader, path: str) -> None:
    assert (await reader.get(path)).status == 404


@pytest_twisted.ensureDeferred
async def test_who_may_only_look_sees_the_text_but_no_form(site: Served) -> None:
    page = await site.reader("operate").get(AT)

    assert page.status == 200
    assert page.says("this is week 2 of MomConnect")
    assert not page.main.all("form")


@pytest.mark.parametrize(
    ("user", "path", "status"),
    [
        ("people.read", AT, 403),
        ("people.read", f"{AT}count/", 403),
        ("people.read", f"{AT}delete/", 403),
        ("content.edit", f"{AT}preview/", 403),
        ("people.read", f"{AT}preview/", 200),
        ("content.edit", f"{AT}count/", 200),
    ],
)
@pytest_twisted.ensureDeferred
async def test_each_form_needs_its_permission(
    site: Served, user: str, path: str, status: int
) -> None:
    reader = site.reader(user)
    page = await reader.get(AT)
    fields: dict[str, Any] = {"version": "", "once": "x", "seen": "x", "identity": str(THANDI)}

    answer = await reader.post(path, **(fields | page.fields() | {"identity": str(THANDI)}))

    assert answer.status == status
    assert "week 2" in text_at(site)


@pytest_twisted.ensureDeferred
async def test_an_editor_who_may_not_publish_writes_only_what_nobody_gets(site: Served) -> None:
    editor = site.reader("content.edit")

    page = await editor.get(AT)
    assert page.says("To change it, you need the permission content.publish.")
    assert not page.main.all("button", text="Save")
    fields: dict[str, Any] = page.fields("Count") | {"text_content": "x"}
    used = await editor.post(AT, **fields)
    missing = await editor.post(MISSING, **(fields | {"version": "", "seen": seen_as("")}))
    deleted = await editor.get(f"{AT}delete/")
    page = await editor.get(f"/console/content/{NURSES}/1/eng_ZA/")
    unused = await editor.submit(page, "Save", text_content="x")

    assert used.status == missing.status == 403
    assert used.says("it needs content.publish")
    assert deleted.says("To change it, you need the permission content.publish.")
    assert not deleted.main.all("button")
    assert unused.done
    assert "week 2" in text_at(site)
