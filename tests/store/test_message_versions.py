"""Versions of messages: each content that a message has had, and which of them somebody got."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from psycopg2.extras import Json
from pytest_twisted import ensureDeferred

from sbm.model.author import Author
from sbm.model.send import Settled
from sbm.operations.undoing import UndoRules, undo_entry
from sbm.store import binary_contents, messages
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.store.test_content_ends import DRY_RUN, TwoSets

REFUSED = Settled(outcome="refused", stage="post", reason="no")
ANN = Author(actor="ann", user_id=None, action="test", reason="", request_id="1")


def versions(direct: Arranged, message_id: int) -> list[dict[str, Any]]:
    return direct.rows(
        "SELECT * FROM message_versions WHERE message_id = %s ORDER BY id", message_id
    )


def current(direct: Arranged, message_id: int) -> dict[str, Any]:
    (row,) = direct.rows(
        "SELECT v.* FROM messages m JOIN message_versions v ON v.id = m.version_id WHERE m.id = %s",
        message_id,
    )
    return row


def test_a_new_message_has_a_version_with_its_content(direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)

    message = direct.message(messageset, 7, "zul_ZA", "Hi", file_name="a.mp3", metadata={"a": 1})

    (version,) = versions(direct, message)
    assert version == current(direct, message)
    assert (version["messageset_id"], version["sequence_number"]) == (messageset, 7)
    assert (version["lang"], version["text_content"]) == ("zul_ZA", "Hi")
    assert (version["file_name"], version["metadata"]) == ("a.mp3", {"a": 1})
    assert version["made_by"] is None


def test_each_changed_column_makes_one_version(direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    other = direct.messageset("b", direct.schedule(), messages=0)
    message = direct.message(messageset, 1, "eng_ZA", "Hi")
    file = direct.value("INSERT INTO binary_contents (content) VALUES ('a.mp3') RETURNING id")

    changes: dict[str, Any] = {
        "text_content": "Hello",
        "binary_content_id": file,
        "metadata": Json({"a": 1}),
        "lang": "zul_ZA",
        "sequence_number": 2,
        "messageset_id": other,
    }
    for number, (column, value) in enumerate(changes.items(), start=2):
        direct.rows(f"UPDATE messages SET {column} = %s WHERE id = %s", value, message)  # noqa: S608
        assert len(versions(direct, message)) == number, column
        assert current(direct, message) == versions(direct, message)[-1]


def test_a_message_that_is_written_as_it_was_has_the_same_version(direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    message = direct.message(messageset, 1, "eng_ZA", "Hi")

    direct.rows("UPDATE messages SET text_content = 'Hi', updated_at = now()")

    assert len(versions(direct, message)) == 1


def test_many_messages_of_one_statement_have_a_version_each(direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=5)

    direct.rows("UPDATE messages SET text_content = text_content || '!'")

    ids = [row["id"] for row in direct.rows("SELECT id FROM messages")]
    assert [len(versions(direct, one)) for one in ids] == [2] * 5
    assert all(current(direct, one)["text_content"].endswith("!") for one in ids)
    assert {current(direct, one)["messageset_id"] for one in ids} == {messageset}


def test_versions_stay_when_their_message_is_deleted(direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    message = direct.message(messageset, 1, "eng_ZA", "Hi")

    direct.rows("DELETE FROM messages")

    assert [one["text_content"] for one in versions(direct, message)] == ["Hi"]


@ensureDeferred
async def test_a_refused_message_makes_no_version(database: Database, direct: Arranged) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    direct.message(messageset, 1, "eng_ZA", "Hi")

    made = await database.transact(
        messages.create,
        messageset_id=messageset,
        sequence_number=1,
        lang="eng_ZA",
        text_content="another",
        binary_content_id=None,
        metadata={},
    )

    assert made is None
    assert direct.value("SELECT count(*) FROM message_versions") == 1


@ensureDeferred
async def test_another_file_is_another_content_of_its_messages(
    database: Database, direct: Arranged
) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=1)
    message = direct.message(messageset, 2, "eng_ZA", None, file_name="a.mp3")
    file = direct.value("SELECT id FROM binary_contents")

    await database.transact(binary_contents.replace, file_id=file, content="b.mp3")

    assert [one["file_name"] for one in versions(direct, message)] == ["a.mp3", "b.mp3"]
    assert current(direct, message)["file_name"] == "b.mp3"
    assert direct.value("SELECT count(*) FROM message_versions") == 3


@ensureDeferred
async def test_a_version_names_its_author_and_the_audit_tells_nothing_of_it(
    database: Database, direct: Arranged
) -> None:
    messageset = direct.messageset("a", direct.schedule(), messages=0)
    message = direct.message(messageset, 1, "eng_ZA", "Hi")
    database.author = ANN

    async def change(transaction: Transaction) -> None:
        found = await messages.lock(transaction, message_id=message)
        assert found is not None
        await messages.update(transaction, message=evolve(found, text_content="Hello"))

    await database.transact(change)

    (entry,) = direct.rows("SELECT * FROM audit WHERE table_name = 'messages'")
    assert entry["after"] == {"text_content": "Hello"}
    assert [one["made_by"] for one in versions(direct, message)] == [None, "ann"]

    await database.transact(undo_entry, entry_id=entry["id"], rules=UndoRules())

    assert [one["text_content"] for one in versions(direct, message)] == ["Hi", "Hello", "Hi"]
    assert current(direct, message) == versions(direct, message)[-1]


@ensureDeferred
async def test_the_ledger_names_the_version_that_was_claimed(
    database: Database, direct: Arranged
) -> None:
    sets = TwoSets(database, direct)
    sets.mother(1, metadata={"prepend_next_delivery": "Dear mother"})
    message = direct.value("SELECT id FROM messages WHERE text_content = 'pregnancy 1 eng_ZA'")
    claimed = await sets.claimed()
    was = current(direct, message)

    direct.rows("UPDATE messages SET text_content = 'corrected' WHERE id = %s", message)
    await sets.settle(claimed, Settled(outcome="sent", stage="post", outbound_id="1"))

    (row,) = direct.ledger()
    assert row["message_version_id"] == was["id"] != current(direct, message)["id"]
    assert row["prepend"] == "Dear mother"


@ensureDeferred
async def test_what_was_refused_has_a_version_and_what_was_not_claimed_has_none(
    database: Database, direct: Arranged
) -> None:
    sets = TwoSets(database, direct)
    sets.mother(1)
    row = await sets.tick(REFUSED)
    assert row["message_version_id"] is not None

    direct.rows("DELETE FROM messages")
    row = await sets.tick(DRY_RUN)

    assert row["message_version_id"] is None


@ensureDeferred
async def test_a_copied_set_has_versions_of_its_own(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    source = direct.messageset("a", schedule, messages=3)
    clone = direct.messageset("b", schedule, messages=0)

    await database.transact(messages.copy_all, source_id=source, clone_id=clone, files={})

    assert direct.value("SELECT count(DISTINCT version_id) FROM messages") == 6
    assert direct.value("SELECT count(*) FROM message_versions") == 6
