"""The pictures and sounds of messages: shown, uploaded and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from sbm.console.media_kinds import kind_of
from tests.console.conftest import Served
from tests.console.content import EMPTY, MOTHERS, NURSES
from tests.console.reader import Reader
from tests.e2e.end_to_end import pause

AT = f"/console/content/{MOTHERS}/2/eng_ZA/"
PICTURE = {"content": ("me.png", b"\x89PNG" + b"x" * 100_000, "image/png")}


def names(site: Served) -> list[str]:
    return sorted(path.name for path in Path(site.api.media_root).iterdir())


def file_of(site: Served) -> str | None:
    rows = site.direct.rows(
        "SELECT content FROM messages JOIN binary_contents b ON b.id = binary_content_id"
        " WHERE messageset_id = %s AND sequence_number = 2 AND lang = 'eng_ZA'",
        MOTHERS,
    )
    return rows[0]["content"] if rows else None


@pytest_twisted.ensureDeferred
async def test_a_picture_is_uploaded_and_shown(site: Served, reader: Reader) -> None:
    page = await reader.submit(await reader.get(AT), "Upload", files=PICTURE)

    assert page.done == "The file was saved. 2 people get the message next."
    (name,) = names(site)
    assert file_of(site) == name
    assert name.endswith(".png")
    assert Path(site.api.media_root, name).read_bytes() == PICTURE["content"][1]
    picture = page.tree.one("img")
    assert picture["src"] == f"/media/{name}"
    assert picture["alt"]
    entries = site.direct.rows("SELECT table_name, actor FROM audit ORDER BY id")
    assert [(one["table_name"], one["actor"]) for one in entries] == [
        ("binary_contents", "ann"),
        ("messages", "ann"),
    ]


@pytest_twisted.ensureDeferred
async def test_the_same_form_stores_one_file(site: Served, reader: Reader) -> None:
    fields: dict[str, Any] = (await reader.get(AT)).fields("Upload")

    first = await reader.post(f"{AT}file/", files=PICTURE, **fields)
    second = await reader.post(f"{AT}file/", files=PICTURE, **fields)

    assert first.place == second.place
    assert names(site) == [file_of(site)]


@pytest_twisted.ensureDeferred
async def test_a_file_for_another_version_is_not_stored(site: Served, reader: Reader) -> None:
    page = await reader.get(AT)
    other = site.reader("uma")
    await other.submit(await other.get(AT), "Save", text_content="Other")

    page = await reader.submit(page, "Upload", files=PICTURE)

    assert page.status == 409
    assert "has changed since you looked" in page.tree.one(id="problem-content").text
    assert names(site) == []
    page = await reader.submit(page, "Upload", files=PICTURE)
    assert page.done


@pytest_twisted.ensureDeferred
async def test_a_message_of_sound_alone_is_made_by_its_upload(site: Served, reader: Reader) -> None:
    audio = site.direct.messageset("audio", 1, messages=0, content_type="audio")
    at = f"/console/content/{audio}/1/eng_ZA/"
    page = await reader.get(at)

    refused = await reader.submit(page, "Upload", files=PICTURE)
    assert refused.status == 400
    assert refused.says("must have a sound attached")
    assert names(site) == []
    page = await reader.submit(
        refused, "Upload", files={"content": ("a.mp3", b"ID3", "audio/mpeg")}
    )

    assert page.done == "The file was saved. 0 people get the message next."
    assert page.tree.one("audio")["src"].endswith(".mp3")


@pytest_twisted.ensureDeferred
async def test_a_form_without_a_file_or_with_an_empty_one_is_refused(
    site: Served, reader: Reader
) -> None:
    page = await reader.get(AT)
    none = await reader.submit(page, "Upload")
    empty = await reader.submit(page, "Upload", files={"content": ("a.png", b"", "image/png")})

    assert none.tree.one(id="problem-content").text == "Choose a file."
    assert empty.tree.one(id="problem-content").text == "The submitted file is empty."
    assert names(site) == []


@pytest_twisted.ensureDeferred
async def test_a_file_is_removed_and_stays_at_its_address(site: Served, reader: Reader) -> None:
    await reader.submit(await reader.get(AT), "Upload", files=PICTURE)
    page = await reader.get(f"{AT}file/remove/")
    assert page.says("2 people get this message next, without the file.")

    page = await reader.submit(page, "Remove the file", reason="blurred")

    assert page.done == "The file was removed."
    assert file_of(site) is None
    assert len(names(site)) == 1


@pytest_twisted.ensureDeferred
async def test_the_only_content_of_a_message_is_not_removed(site: Served, reader: Reader) -> None:
    site.direct.message(EMPTY, 1, "eng_ZA", None, file_name="a.png")
    at = f"/console/content/{EMPTY}/1/eng_ZA/file/remove/"

    page = await reader.submit(await reader.get(at), "Remove the file")

    assert page.status == 400
    assert page.says("Messages must have text or file attached")


@pytest.mark.parametrize("user", ["people.read", "operate", None])
@pytest_twisted.ensureDeferred
async def test_nobody_else_uploads(site: Served, user: str | None) -> None:
    fields: dict[str, Any] = (await site.reader().get(AT)).fields("Upload")
    other = site.reader(user)
    if user is not None:
        page = await other.get(AT)
        fields["secret"] = page.tree.all("input", name="secret")[0]["value"]

    answer = await other.post(f"{AT}file/", files=PICTURE, **fields)

    assert answer.status == (303 if user is None else 403)
    assert names(site) == []
    assert file_of(site) is None


@pytest.mark.parametrize(
    "change",
    [{"secret": "x"}, {"secret": ""}, {"headers": {"Sec-Fetch-Site": "cross-site"}}],
)
@pytest_twisted.ensureDeferred
async def test_a_foreign_form_uploads_nothing(
    site: Served, reader: Reader, change: dict[str, Any]
) -> None:
    fields: dict[str, Any] = (await reader.get(AT)).fields("Upload")

    answer = await reader.post(f"{AT}file/", files=PICTURE, **{**fields, **change})

    assert answer.status == 403
    assert file_of(site) is None
    while names(site):  # a thread removes the file
        await pause(0.05)


@pytest_twisted.ensureDeferred
async def test_an_editor_who_may_not_publish_uploads_only_where_nobody_is(site: Served) -> None:
    editor = site.reader("content.edit")

    fields: dict[str, Any] = (await site.reader().get(AT)).fields("Upload")
    page = await editor.get(AT)
    assert not page.main.all("button", text="Upload")
    fields["secret"] = page.fields()["secret"]
    used = await editor.post(f"{AT}file/", files=PICTURE, **fields)
    assert used.status == 403
    assert used.says("it needs content.publish")
    assert names(site) == []
    page = await editor.get(f"/console/content/{NURSES}/1/eng_ZA/")
    unused = await editor.submit(page, "Upload", files=PICTURE)

    assert unused.done
    assert len(names(site)) == 1


def test_the_kind_of_a_file_is_known_by_its_name() -> None:
    assert [kind_of(name) for name in ("a.mp3", "a.JPG", "a.pdf", "a")] == [
        "sound",
        "picture",
        "other",
        "other",
    ]
