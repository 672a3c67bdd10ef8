"""Message sets."""

from __future__ import annotations

from collections.abc import Collection

from attrs import asdict
from psycopg2.errors import UniqueViolation

from sbm.model.content import NEXT, MessageSet
from sbm.model.content_summary import SetSummary, StandingPeople
from sbm.model.paging import Page, PageRequest
from sbm.store import messages
from sbm.store.paging import read_page
from sbm.store.postgres.rows import names_of_true
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("messagesets")


async def create(
    transaction: Transaction,
    *,
    short_name: str,
    label: str,
    content_type: str,
    channel: str | None,
    notes: str | None,
    next_set_id: int | None,
    default_schedule_id: int,
    send_hours: str | None = None,
    max_age: int | None = None,
    on_missing_translation: str = NEXT,
) -> MessageSet | None:
    """Make a message set; None if the short name is taken."""
    return await transaction.maybe(
        QUERIES.insert_messageset,
        MessageSet,
        short_name=short_name,
        label=label,
        content_type=content_type,
        channel=channel,
        notes=notes,
        next_set_id=next_set_id,
        default_schedule_id=default_schedule_id,
        send_hours=send_hours,
        max_age=max_age,
        on_missing_translation=on_missing_translation,
    )


async def find(transaction: Transaction, *, messageset_id: int) -> MessageSet | None:
    """The message set with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_messageset, MessageSet, id=messageset_id)


async def lock(transaction: Transaction, *, messageset_id: int) -> MessageSet | None:
    """The message set with this id, which is locked until the transaction ends."""
    await transaction.execute(QUERIES.take_turn_at_messagesets)
    return await transaction.maybe(QUERIES.lock_messageset, MessageSet, id=messageset_id)


async def update(transaction: Transaction, *, messageset: MessageSet) -> MessageSet | None:
    """Store the fields of a message set that is locked; None if the short name is taken.

    After None the transaction can only be rolled back.
    """
    try:
        return await transaction.one(QUERIES.update_messageset, MessageSet, **asdict(messageset))
    except UniqueViolation:
        return None


async def find_users(transaction: Transaction, *, messageset_id: int) -> list[str]:
    """The names of the tables that use a message set."""
    return await transaction.one(QUERIES.find_users_of_messageset, names_of_true, id=messageset_id)


async def delete(transaction: Transaction, *, messageset_id: int) -> None:
    """Delete a message set that is locked and that nothing uses, with its messages."""
    await transaction.execute(QUERIES.leave_next_set, id=messageset_id)
    await messages.delete_all(transaction, messageset_id=messageset_id)
    await transaction.execute(QUERIES.delete_messageset, id=messageset_id)


async def find_by_name(transaction: Transaction, *, short_name: str) -> int | None:
    """The id of the message set with this short name, if there is one."""
    return await transaction.maybe(QUERIES.find_short_name, int, short_name=short_name)


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a message set; if so, it is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.hold_messageset, int, id=row_id) is not None


async def exists(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a message set."""
    return await find(transaction, messageset_id=row_id) is not None


async def find_containing(transaction: Transaction, *, text: str) -> list[int]:
    """The ids of the message sets whose short name contains a text."""
    return await transaction.many(QUERIES.find_messagesets_containing, int, text=text)


async def list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    short_name: str | None = None,
    content_type: str | None = None,
) -> Page[MessageSet]:
    """A page of the message sets that match the filters (None: no filter), by id."""
    return await read_page(
        transaction,
        QUERIES.list_messagesets,
        MessageSet,
        page,
        short_name=short_name,
        content_type=content_type,
    )


async def list_all(transaction: Transaction) -> list[MessageSet]:
    """All message sets, by id."""
    return await transaction.many(QUERIES.list_all_messagesets, MessageSet)


async def list_languages(transaction: Transaction) -> dict[int, list[str]]:
    """The languages of each message set, in order, by its id."""
    return dict(await transaction.many(QUERIES.list_languages, _languages))


async def list_names(transaction: Transaction) -> list[tuple[str, str]]:
    """The content type and short name of each message set, by id."""
    return await transaction.many(QUERIES.list_names, _name)


async def is_under_way(transaction: Transaction, *, row_id: int) -> bool:
    """Whether people get messages of this set, or will get them after another set."""
    return await transaction.one(QUERIES.is_messageset_under_way, bool, id=row_id)


async def describe(transaction: Transaction, *, ids: Collection[int]) -> dict[int, SetSummary]:
    """What these sets have, and how many people are in each, by id."""
    if not ids:
        return {}
    found = await transaction.many(QUERIES.describe_messagesets, SetSummary, ids=list(ids))
    return {one.messageset_id: one for one in found}


async def list_standing(transaction: Transaction, *, messageset_id: int) -> list[StandingPeople]:
    """Where the people of a set stand, and what they get next, by number and language."""
    return await transaction.many(
        QUERIES.list_standing, StandingPeople, messageset_id=messageset_id
    )


def _languages(*, messageset_id: int, languages: list[str]) -> tuple[int, list[str]]:
    return messageset_id, languages


def _name(*, content_type: str, short_name: str) -> tuple[str, str]:
    return content_type, short_name
