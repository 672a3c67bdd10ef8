"""Messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import asdict
from psycopg2.errors import UniqueViolation
from psycopg2.extras import Json

from sbm.model.content import BinaryContent, Message
from sbm.model.content_rules import Content, Medium, Placed, Problem
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_part
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import load

QUERIES = load("messages")

# So many are read at a time, and let go again, when all messages of a set are judged.
JUDGED_AT_ONCE = 500
# Of one file.
JUDGED_OF_FILE = 1000

Problems = Callable[[Content], Sequence[Problem]]


async def create(
    transaction: Transaction,
    *,
    messageset_id: int,
    sequence_number: int,
    lang: str,
    metadata: Any,
    text_content: str | None,
    binary_content_id: int | None,
) -> Message | None:
    """Make a message; None when its set has one of this number in this language."""
    row = await transaction.row(
        QUERIES.insert_message,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
        metadata=Json(metadata),
        text_content=text_content,
        binary_content_id=binary_content_id,
    )
    return Message(**row) if row else None


async def find(transaction: Transaction, *, message_id: int) -> Message | None:
    """The message with this id, if there is one."""
    row = await transaction.row(QUERIES.find_message, id=message_id)
    return Message(**row) if row else None


async def lock(transaction: Transaction, *, message_id: int) -> Message | None:
    """The message with this id, kept from everybody else until the transaction ends."""
    row = await transaction.row(QUERIES.lock_message, id=message_id)
    return Message(**row) if row else None


async def update(transaction: Transaction, *, message: Message) -> Message | None:
    """Store the fields of a message that is locked; None when its place is taken.

    After None the transaction can only be rolled back.
    """
    fields = asdict(message) | {"metadata": Json(message.metadata)}
    try:
        row = await transaction.row(QUERIES.update_message, **fields)
    except UniqueViolation:
        return None
    assert row is not None
    return Message(**row)


async def delete(transaction: Transaction, *, message_id: int) -> bool:
    """Delete a message; False if there is none."""
    return await transaction.execute(QUERIES.delete_message, id=message_id) > 0


async def find_in_place(
    transaction: Transaction, *, messageset_id: int, sequence_number: int, lang: str
) -> int | None:
    """The id of the set's message of this number in this language, if there is one."""
    row = await transaction.row(
        QUERIES.find_message_in_place,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
    )
    return row["id"] if row else None


async def list_of_set(transaction: Transaction, *, messageset_id: int) -> list[Message]:
    """All messages of a set, by sequence number, then id."""
    rows = await transaction.rows(QUERIES.list_messages_of_set, messageset_id=messageset_id)
    return [Message(**row) for row in rows]


async def count_languages(transaction: Transaction, *, messageset_id: int) -> dict[str, int]:
    """How many messages a set has in each of its languages."""
    rows = await transaction.rows(QUERIES.summarize_messages, messageset_id=messageset_id)
    return {row["lang"]: row["count"] for row in rows}


async def list_files(transaction: Transaction, *, messageset_id: int) -> list[BinaryContent]:
    """The files that a set's messages carry, each once, by id."""
    rows = await transaction.rows(QUERIES.list_files_of_set, messageset_id=messageset_id)
    return [BinaryContent(**row) for row in rows]


async def find_offenders(
    transaction: Transaction, *, messageset_id: int, problems: Problems, most: int
) -> list[tuple[Placed, Problem]]:
    """The first messages of a set, by language and number, of which ``problems`` finds any.

    Each comes with its first problem; ``most`` of them are looked for.
    """
    found: list[tuple[Placed, Problem]] = []
    lang, number = "", 0
    while len(found) < most:
        rows = await transaction.rows(
            QUERIES.list_contents,
            messageset_id=messageset_id,
            after_lang=lang,
            after_number=number,
            limit=JUDGED_AT_ONCE,
        )
        found += await _offenders(transaction, rows, problems)
        if len(rows) < JUDGED_AT_ONCE:
            break
        lang, number = rows[-1]["lang"], rows[-1]["sequence_number"]
    return found[:most]


async def find_offenders_of_file(
    transaction: Transaction, *, file_id: int, problems: Problems, most: int
) -> list[tuple[Placed, Problem]]:
    """The first messages that carry a file of which ``problems`` finds any, ``most`` of them."""
    rows = await transaction.rows(
        QUERIES.list_contents_of_file, file_id=file_id, limit=JUDGED_OF_FILE
    )
    return (await _offenders(transaction, rows, problems))[:most]


async def _offenders(
    transaction: Transaction, rows: Sequence[Row], problems: Problems
) -> list[tuple[Placed, Problem]]:
    found = []
    slices = transaction.slices()
    for row in rows:
        one = placed(row)
        found += [(one, problem) for problem in problems(one.content)[:1]]
        if slices.is_over:
            await slices.next_turn()
    return found


def placed(row: Row) -> Placed:
    """A message of which a statement tells the content, and how it goes out."""
    return Placed(
        id=row["id"],
        messageset_id=row["messageset_id"],
        messageset=row["messageset"],
        sequence_number=row["sequence_number"],
        lang=row["lang"],
        content=Content(
            text=row["text"],
            file_name=row["file_name"],
            medium=Medium(content_type=row["content_type"], channel=row["channel"]),
        ),
    )


async def find_next_text(
    transaction: Transaction, *, messageset_id: int, lang: str, next_sequence_number: int
) -> str | None:
    """The text of the next message from this number on, perhaps empty; None if there is none."""
    row = await transaction.row(
        QUERIES.find_next_text,
        messageset_id=messageset_id,
        lang=lang,
        next_sequence_number=next_sequence_number,
    )
    return row["text"] if row else None


async def copy_all(
    transaction: Transaction, *, source_id: int, clone_id: int, files: Mapping[int, int]
) -> int:
    """Copy a set's messages into one that has none; returns how many there were.

    ``files`` says which file takes the place of which, by id; others are carried by both.
    """
    return await transaction.execute(
        QUERIES.copy_messages,
        source_id=source_id,
        clone_id=clone_id,
        files=Json({str(old): new for old, new in files.items()}),
    )


async def list_page(
    transaction: Transaction,
    *,
    window: PageRequest,
    messageset_id: int | None = None,
    sequence_number: int | None = None,
    lang: str | None = None,
) -> Page[Message]:
    """A part of the messages that match the filters (None: no filter), by id."""
    return await read_part(
        transaction,
        QUERIES.list_messages,
        Message,
        window,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
    )
