"""Message sets."""

from __future__ import annotations

from attrs import asdict
from psycopg2.errors import UniqueViolation

from sbm.model.content import MessageSet
from sbm.store.database import Transaction
from sbm.store.queries import load

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
) -> MessageSet | None:
    """Make a message set; None when the short name is taken."""
    row = await transaction.row(
        QUERIES.insert_messageset,
        short_name=short_name,
        label=label,
        content_type=content_type,
        channel=channel,
        notes=notes,
        next_set_id=next_set_id,
        default_schedule_id=default_schedule_id,
    )
    return MessageSet(**row) if row else None


async def find(transaction: Transaction, *, messageset_id: int) -> MessageSet | None:
    """The message set with this id, if there is one."""
    row = await transaction.row(QUERIES.find_messageset, id=messageset_id)
    return MessageSet(**row) if row else None


async def lock(transaction: Transaction, *, messageset_id: int) -> MessageSet | None:
    """The message set with this id, kept from everybody else until the transaction ends."""
    row = await transaction.row(QUERIES.lock_messageset, id=messageset_id)
    return MessageSet(**row) if row else None


async def update(transaction: Transaction, *, messageset: MessageSet) -> MessageSet | None:
    """Store the fields of a message set that is locked; None when the short name is taken.

    After None the transaction can only be rolled back.
    """
    try:
        row = await transaction.row(QUERIES.update_messageset, **asdict(messageset))
    except UniqueViolation:
        return None
    assert row is not None
    return MessageSet(**row)


async def find_users(transaction: Transaction, *, messageset_id: int) -> list[str]:
    """What uses a message set: names of tables."""
    row = await transaction.row(QUERIES.find_users_of_messageset, id=messageset_id)
    return [table for table, uses in (row or {}).items() if uses]


async def delete(transaction: Transaction, *, messageset_id: int) -> None:
    """Delete a message set that is locked and that nothing uses, with its messages."""
    await transaction.execute(QUERIES.delete_messageset, id=messageset_id)


async def find_by_name(transaction: Transaction, *, short_name: str) -> int | None:
    """The id of the message set with this short name, if there is one."""
    row = await transaction.row(QUERIES.find_short_name, short_name=short_name)
    return row["id"] if row else None


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a message set, and then keep it until the transaction ends."""
    return await transaction.row(QUERIES.hold_messageset, id=row_id) is not None


async def list_page(
    transaction: Transaction,
    *,
    limit: int,
    offset: int,
    short_name: str | None = None,
    content_type: str | None = None,
) -> tuple[int, list[MessageSet]]:
    """How many match the filters (None: no filter), and one page of them by id."""
    filters = {"short_name": short_name, "content_type": content_type}
    count = await transaction.row(QUERIES.count_messagesets, **filters)
    rows = await transaction.rows(QUERIES.list_messagesets, limit=limit, offset=offset, **filters)
    assert count is not None
    return count["count"], [MessageSet(**row) for row in rows]
