"""Subscriptions, as clients see them. What sending makes of them is in ``sends``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.subscription import Subscription
from sbm.store.database import Transaction
from sbm.store.queries import load

QUERIES = load("subscriptions")


async def create(
    transaction: Transaction,
    *,
    version: int,
    identity: str,
    messageset_id: int,
    next_sequence_number: int,
    initial_sequence_number: int,
    lang: str,
    active: bool,
    completed: bool,
    schedule_id: int,
    process_status: int,
    metadata: dict[str, Any] | None,
    created_by: int | None,
) -> Subscription:
    """Make a subscription; ``process_status`` is one that can be stored, so not IN_PROCESS."""
    row = await transaction.row(
        QUERIES.insert_subscription,
        version=version,
        identity=identity,
        messageset_id=messageset_id,
        next_sequence_number=next_sequence_number,
        initial_sequence_number=initial_sequence_number,
        lang=lang,
        active=active,
        completed=completed,
        schedule_id=schedule_id,
        process_status=process_status,
        metadata=None if metadata is None else Json(metadata),
        created_by=created_by,
    )
    assert row is not None
    return Subscription(**row)


async def find(transaction: Transaction, *, subscription_id: UUID) -> Subscription | None:
    """The subscription with this id, if there is one."""
    row = await transaction.row(QUERIES.find_subscription, id=subscription_id)
    return Subscription(**row) if row else None


async def lock(transaction: Transaction, *, subscription_id: UUID) -> dict[str, Any] | None:
    """The fields that clients write, as they are stored; no send steps until the transaction ends.

    Its process_status is never IN_PROCESS, which is derived.
    """
    return await transaction.row(QUERIES.lock_subscription, id=subscription_id)


async def update(
    transaction: Transaction,
    *,
    subscription_id: UUID,
    fields: Mapping[str, Any],
    updated_by: int | None,
) -> None:
    """Store all the fields of a subscription that is locked; named as ``lock`` returns them."""
    metadata = fields["metadata"]
    stored = dict(fields) | {"metadata": None if metadata is None else Json(metadata)}
    await transaction.execute(
        QUERIES.update_subscription, id=subscription_id, updated_by=updated_by, **stored
    )


async def delete(transaction: Transaction, *, subscription_id: UUID) -> bool:
    """Delete a subscription; False if there is none. What it is owed will be skipped."""
    return await transaction.execute(QUERIES.delete_subscription, id=subscription_id) > 0


async def list_page(
    transaction: Transaction,
    *,
    limit: int,
    offset: int,
    identity: str | None = None,
    active: bool | None = None,
    completed: bool | None = None,
    lang: str | None = None,
    messageset_id: int | None = None,
    schedule_id: int | None = None,
    process_status: int | None = None,
) -> tuple[int, list[Subscription]]:
    """How many match the filters (None: no filter), and one page of them, newest first."""
    filters = {
        "identity": identity,
        "active": active,
        "completed": completed,
        "lang": lang,
        "messageset_id": messageset_id,
        "schedule_id": schedule_id,
        "process_status": process_status,
    }
    count = await transaction.row(QUERIES.count_subscriptions, **filters)
    rows = await transaction.rows(QUERIES.list_subscriptions, limit=limit, offset=offset, **filters)
    assert count is not None
    return count["count"], [Subscription(**row) for row in rows]
