"""``sbm message-set clone``, as an operator runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from sbm.commands.running import FAILED
from tests.arrange import Arranged
from tests.commands.misuse import misused
from tests.commands.operator import Sbm

CLONE = ("message-set", "clone")
SET = "label, content_type, channel, notes, next_set_id, default_schedule_id"


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SBM_MEDIA_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def source(direct: Arranged, media: Path) -> int:
    """A set of three sounds that are one file, one of them with a text, in two languages."""
    schedule = direct.schedule()
    following = direct.messageset("baby", schedule)
    source = direct.messageset(
        "pregnancy", schedule, messages=0, next_set=following, content_type="audio", channel="c"
    )
    direct.rows("UPDATE messagesets SET label = 'Nine months', notes = 'n' WHERE id = %s", source)
    direct.message(source, 1, "eng_ZA", "one", metadata={"k": [1, None]})
    direct.message(source, 7, "eng_ZA", None, file_name="a.mp3")
    direct.rows(
        "INSERT INTO messages (messageset_id, sequence_number, lang, binary_content_id)"
        " SELECT messageset_id, 7, 'zul_ZA', binary_content_id FROM messages"
        " WHERE binary_content_id IS NOT NULL"
    )
    direct.rows(
        "UPDATE messages SET binary_content_id = (SELECT id FROM binary_contents)"
        " WHERE messageset_id = %s",
        source,
    )
    (media / "a.mp3").write_bytes(b"sound" * 500_000)
    return source


def messages(direct: Arranged, messageset: int) -> list[dict[str, Any]]:
    return direct.rows(
        "SELECT sequence_number, lang, text_content, metadata, content FROM messages"
        " LEFT JOIN binary_contents b ON b.id = binary_content_id WHERE messageset_id = %s"
        " ORDER BY messages.id",
        messageset,
    )


def named(direct: Arranged, name: str) -> int:
    return int(direct.value("SELECT id FROM messagesets WHERE short_name = %s", name))


def fields(direct: Arranged, messageset: int) -> dict[str, Any]:
    (row,) = direct.rows(f"SELECT {SET} FROM messagesets WHERE id = %s", messageset)  # noqa: S608
    return row


@ensureDeferred
async def test_a_clone_is_told_of_and_then_has_all_that_the_source_has_but_the_name(
    sbm: Sbm, direct: Arranged, source: int, media: Path
) -> None:
    described = "'again', of 'pregnancy': 3 messages (eng_ZA 2, zul_ZA 1), 1 files shared\n"
    outcome = await sbm(*CLONE, "pregnancy", "again", "--dry-run")
    assert outcome.out == f"would make message set {described}"
    assert direct.value("SELECT count(*) FROM messagesets") == 2

    outcome = await sbm(*CLONE, str(source), " again ", "--by", "ann", "--reason", "a trial")
    clone = named(direct, "again")
    assert (outcome.status, outcome.out) == (0, f"made message set {clone}, {described}")
    assert fields(direct, clone) == fields(direct, source)
    assert messages(direct, clone) == messages(direct, source)
    assert [path.name for path in media.iterdir()] == ["a.mp3"]
    assert direct.rows(
        "SELECT actor, action, reason, details FROM audit WHERE operation IS NULL"
    ) == [
        {
            "actor": "ann",
            "action": " ".join(("sbm", *CLONE)),
            "reason": "a trial",
            "details": {
                "source": source,
                "messageset": clone,
                "short_name": "again",
                "count": 3,
                "files": [],
            },
        }
    ]


@ensureDeferred
async def test_the_files_of_a_clone_can_be_its_own(
    sbm: Sbm, direct: Arranged, source: int, media: Path
) -> None:
    options = ("--messages", "copied", "--label", "Again", "--no-next-set")
    assert (await sbm(*CLONE, "pregnancy", "again", *options)).status == 0
    clone = named(direct, "again")
    changes = {"label": "Again", "next_set_id": None}
    assert fields(direct, clone) == fields(direct, source) | changes
    before, after = messages(direct, source), messages(direct, clone)
    sounds = [one.pop("content") for one in after]
    assert [one.pop("content") for one in before] == ["a.mp3"] * 3
    assert after == before
    assert len(set(sounds)) == 1
    assert {path.name for path in media.iterdir()} == {"a.mp3", sounds[0]}
    copied = media / sounds[0]
    assert copied.read_bytes() == (media / "a.mp3").read_bytes()
    assert copied.stat().st_mode & 0o777 == 0o644


@ensureDeferred
async def test_a_set_that_follows_itself_has_a_clone_that_does_as_well(
    sbm: Sbm, direct: Arranged, source: int
) -> None:
    direct.rows("UPDATE messagesets SET next_set_id = id WHERE id = %s", source)
    assert (await sbm(*CLONE, "pregnancy", "again")).status == 0
    clone = named(direct, "again")
    assert fields(direct, clone)["next_set_id"] == clone
    assert (await sbm(*CLONE, "pregnancy", "once", "--next-set", "pregnancy")).status == 0
    assert fields(direct, named(direct, "once"))["next_set_id"] == source


@pytest.mark.parametrize(
    "arguments",
    [
        ("pregnancy", " "),
        ("pregnancy", "\u200b"),
        ("pregnancy", "x" * 101),
        ("pregnancy", "again", "--next-set", "baby", "--no-next-set"),
        ("pregnancy", "again", "--messages", "copied"),  # where to?
    ],
)
def test_what_cannot_be_meant_is_misuse(arguments: tuple[str, ...]) -> None:
    assert misused(*CLONE, *arguments)


@pytest.mark.parametrize("arguments", [("pregnancy", "baby"), ("nope", "again")])
@ensureDeferred
async def test_what_cannot_be_made_is_not(
    sbm: Sbm, direct: Arranged, source: int, arguments: tuple[str, ...]
) -> None:
    outcome = await sbm(*CLONE, *arguments)
    assert (outcome.status, outcome.out) == (FAILED, "")
    assert direct.value("SELECT count(*) FROM messagesets") == 2


@ensureDeferred
async def test_files_are_copied_all_or_none(
    sbm: Sbm, direct: Arranged, source: int, media: Path
) -> None:
    direct.message(source, 8, "eng_ZA", None, file_name="lost.mp3")
    options = (*CLONE, "pregnancy", "again", "--messages", "copied")
    outcome = await sbm(*options)
    assert (outcome.status, outcome.stderr) == (
        FAILED,
        f"sbm: there is no file 'lost.mp3' in {media}\n",
    )
    (media / "lost.mp3").write_bytes(b"found")
    # Now the last step fails, when all files are there.
    direct.rows(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE lock_not_available; END'"
    )
    direct.rows("CREATE TRIGGER fail BEFORE INSERT ON audit EXECUTE FUNCTION fail()")
    assert (await sbm(*options)).status == FAILED
    assert {path.name for path in media.iterdir()} == {"a.mp3", "lost.mp3"}
    assert direct.value("SELECT count(*) FROM messagesets") == 2


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
@ensureDeferred
async def test_messages_that_cannot_be_sent_are_named_and_not_copied(
    sbm: Sbm, direct: Arranged, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SBM_MAX_TEXT_LENGTH", "30")
    schedule = direct.schedule()
    source = direct.messageset("chat", schedule, channel="whatsapp", langs=("eng_ZA", "zul_ZA"))
    assert (await sbm(*CLONE, "chat", "fine", *option)).status == 0
    for number, text in ((4, "a\nb"), (5, "“Hi”"), (6, "x" * 31), (7, "x" * 32)):
        direct.message(source, number, "eng_ZA", text)
    outcome = await sbm(*CLONE, "chat", "again", *option)
    assert (outcome.status, outcome.out) == (FAILED, "")
    first, second, third, last = outcome.stderr.splitlines()
    assert "Message 4 in eng_ZA" in first
    assert "a newline, a tab or 4 consecutive spaces" in first
    assert "Message 5 in eng_ZA" in second
    assert "special characters which can be replaced: “ ”" in second
    assert third.endswith("has 31 characters, more than 30.")
    assert last == "such messages cannot be sent, and are not copied"
    assert direct.rows("SELECT FROM messagesets WHERE short_name = 'again'") == []
