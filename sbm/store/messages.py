"""Messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import asdict
from psycopg2.errors import UniqueViolation
from psycopg2.extras import Json

from sbm.model.content import BinaryContent, ComingMessage, ListedMessage, Message
from sbm.model.content_rules import Content, Medium, PlacedContent
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import json_parameter
from sbm.store.postgres.transaction import Transaction

QUERIES = load("messages")


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
    """Make a message; None if its set has one of this number in this language."""
    return await transaction.maybe(
        QUERIES.insert_message,
        Message,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
        metadata=json_parameter(metadata),
        text_content=text_content,
        binary_content_id=binary_content_id,
    )


async def find(transaction: Transaction, *, message_id: int) -> Message | None:
    """The message with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_message, Message, id=message_id)


async def lock(transaction: Transaction, *, message_id: int) -> Message | None:
    """The message with this id, which is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.lock_message, Message, id=message_id)


async def update(transaction: Transaction, *, message: Message) -> Message | None:
    """Store the fields of a message that is locked; None if its place is taken.

    After None the transaction can only be rolled back.
    """
    fields = asdict(message, recurse=False) | {"metadata": message.metadata.text}
    try:
        return await transaction.one(QUERIES.update_message, Message, **fields)
    except UniqueViolation:
        return None


async def delete(transaction: Transaction, *, message_id: int) -> bool:
    """Delete a message; False if there is none."""
    return await transaction.execute(QUERIES.delete_message, id=message_id) > 0


async def has_any(
    transaction: Transaction,
    *,
    messageset_id: int | None = None,
    binary_content_id: int | None = None,
) -> bool:
    """Whether there are messages in a set, or with a file."""
    return await transaction.one(
        QUERIES.have_messages,
        bool,
        messageset_id=messageset_id,
        binary_content_id=binary_content_id,
    )


async def delete_all(transaction: Transaction, *, messageset_id: int) -> None:
    """Delete all messages of a set."""
    await transaction.execute(QUERIES.delete_messages_of_set, messageset_id=messageset_id)


async def delete_those_with(transaction: Transaction, *, binary_content_id: int) -> None:
    """Delete all messages that use a file."""
    await transaction.execute(QUERIES.delete_messages_of_file, binary_content_id=binary_content_id)


async def find_in_place(
    transaction: Transaction, *, messageset_id: int, sequence_number: int, lang: str
) -> int | None:
    """The id of the set's message of this number in this language, if there is one."""
    return await transaction.maybe(
        QUERIES.find_message_in_place,
        int,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
    )


async def list_of_set(transaction: Transaction, *, messageset_id: int) -> list[ListedMessage]:
    """All messages of a set, by sequence number, then id."""
    return await transaction.many(
        QUERIES.list_messages_of_set, ListedMessage, messageset_id=messageset_id
    )


async def count_languages(transaction: Transaction, *, messageset_id: int) -> dict[str, int]:
    """How many messages a set has in each of its languages."""
    return dict(
        await transaction.many(QUERIES.summarize_messages, _language, messageset_id=messageset_id)
    )


async def list_files(transaction: Transaction, *, messageset_id: int) -> list[BinaryContent]:
    """The files that a set's messages use, each once, by id."""
    return await transaction.many(
        QUERIES.list_files_of_set, BinaryContent, messageset_id=messageset_id
    )


async def list_contents(
    transaction: Transaction, *, messageset_id: int, lang: str, number: int, limit: int
) -> list[PlacedContent]:
    """The next ``limit`` messages of a set after this place, by language and number."""
    return await transaction.many(
        QUERIES.list_contents,
        placed,
        messageset_id=messageset_id,
        after_lang=lang,
        after_number=number,
        limit=limit,
    )


async def list_contents_of_file(
    transaction: Transaction, *, file_id: int, limit: int
) -> list[PlacedContent]:
    """The first ``limit`` messages that use a file."""
    return await transaction.many(
        QUERIES.list_contents_of_file, placed, file_id=file_id, limit=limit
    )


def placed(
    *, text: str | None, file_name: str | None, content_type: str, channel: str | None, **place: Any
) -> PlacedContent:
    """A message, with its content and the way it is sent, of the columns of a statement."""
    medium = Medium(content_type=content_type, channel=channel)
    return PlacedContent(content=Content(text=text, file_name=file_name, medium=medium), **place)


def _language(*, lang: str, count: int) -> tuple[str, int]:
    return lang, count


async def find_next_text(
    transaction: Transaction, *, messageset_id: int, lang: str, next_sequence_number: int
) -> str | None:
    """The text of the next message from this number on, perhaps empty; None if there is none."""
    return await transaction.maybe(
        QUERIES.find_next_text,
        str,
        messageset_id=messageset_id,
        lang=lang,
        next_sequence_number=next_sequence_number,
    )


async def find_coming(
    transaction: Transaction, *, messageset_id: int, lang: str, next_sequence_number: int
) -> ComingMessage | None:
    """The next message of a subscription that is at this number; None: there is none."""
    return await transaction.maybe(
        QUERIES.find_coming_message,
        ComingMessage,
        messageset_id=messageset_id,
        lang=lang,
        next_sequence_number=next_sequence_number,
    )


async def copy_all(
    transaction: Transaction, *, source_id: int, clone_id: int, files: Mapping[int, int]
) -> int:
    """Copy a set's messages into one that has none; returns how many there were.

    ``files`` says which file replaces which, by id; all other files are used by both sets.
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
    page: PageRequest,
    messageset_id: int | None = None,
    sequence_number: int | None = None,
    lang: str | None = None,
) -> Page[Message]:
    """A page of the messages that match the filters (None: no filter), by id."""
    return await read_page(
        transaction,
        QUERIES.list_messages,
        Message,
        page,
        messageset_id=messageset_id,
        sequence_number=sequence_number,
        lang=lang,
    )


async def is_under_way(transaction: Transaction, *, row_id: int) -> bool:
    """Whether people who are under way get messages of the set of this message."""
    return bool(await transaction.maybe(QUERIES.is_message_under_way, bool, id=row_id))
