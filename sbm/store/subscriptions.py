"""Subscriptions, as clients see them. The changes by sending are in ``sends``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import asdict, frozen
from psycopg2.extras import Json

from sbm.model.json_text import JsonText, json_text_or_none
from sbm.model.paging import Page, PageRequest
from sbm.model.subscription import IN_PROCESS, READY, Subscription
from sbm.store import messagesets
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import json_parameter
from sbm.store.postgres.transaction import Transaction

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
    metadata: JsonText | dict[str, Any] | None,
    created_by: int | None,
) -> UUID | None:
    """Make a subscription; returns its id, or None if its message set or schedule does not exist.

    ``process_status`` is one that can be stored, so not IN_PROCESS.
    """
    return await transaction.maybe(
        QUERIES.insert_subscription,
        _id,
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
        metadata=json_parameter(metadata),
        created_by=created_by,
    )


def _id(*, id: UUID) -> UUID:  # noqa: A002  # the column's name
    return id


async def find(transaction: Transaction, *, subscription_id: UUID) -> Subscription | None:
    """The subscription with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_subscription, Subscription, id=subscription_id)


async def lock(transaction: Transaction, *, subscription_id: UUID) -> dict[str, Any] | None:
    """The fields that clients write, as they are stored, locked until the transaction ends.

    Until then, the subscription takes no step. The process_status is never IN_PROCESS, which is
    derived. The metadata is JsonText, or None.
    """
    return await transaction.maybe(QUERIES.lock_subscription, _fields, id=subscription_id)


def _fields(*, metadata: str | None, **others: Any) -> dict[str, Any]:
    return {**others, "metadata": json_text_or_none(metadata)}


async def update(
    transaction: Transaction,
    *,
    subscription_id: UUID,
    fields: Mapping[str, Any],
    updated_by: int | None,
) -> None:
    """Store all fields of a subscription that is locked; their names are those of ``lock``."""
    stored = dict(fields) | {"metadata": json_parameter(fields["metadata"])}
    await transaction.execute(
        QUERIES.update_subscription, id=subscription_id, updated_by=updated_by, **stored
    )


async def delete(transaction: Transaction, *, subscription_id: UUID) -> bool:
    """Delete a subscription; False if there is none. Its live sends will be skipped."""
    return await transaction.execute(QUERIES.delete_subscription, id=subscription_id) > 0


@frozen(kw_only=True)
class SubscriptionFilter:
    """Filters of the list; None is no filter.

    The times are aware; ``created_after`` and ``created_before`` are inclusive. ``metadata`` is a
    text, which the metadata must be equal to.
    """

    id: UUID | None = None
    identity: str | None = None
    messageset_id: int | None = None
    messageset_contains: str | None = None
    schedule_id: int | None = None
    lang: str | None = None
    active: bool | None = None
    completed: bool | None = None
    process_status: int | None = None
    version: int | None = None
    next_sequence_number: int | None = None
    initial_sequence_number: int | None = None
    created_by: int | None = None
    updated_by: int | None = None
    created_at: datetime | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_at: datetime | None = None
    metadata: str | None = None
    metadata_has_key: str | None = None
    metadata_not_has_key: str | None = None


_EVERYTHING = SubscriptionFilter()

# Both are stored as READY: they have parameters of their own.
_AS_READY: Mapping[int | None, str] = {READY: "ready", IN_PROCESS: "in_process"}


async def list_page(
    transaction: Transaction, *, page: PageRequest, wanted: SubscriptionFilter = _EVERYTHING
) -> Page[Subscription]:
    """A page of the subscriptions that match the filters, newest first."""
    ids = None
    if wanted.messageset_contains is not None:
        ids = await messagesets.find_containing(transaction, text=wanted.messageset_contains)
    filters = filter_parameters(wanted, messageset_ids=ids)
    return await read_page(transaction, QUERIES.list_subscriptions, Subscription, page, **filters)


def filter_parameters(
    wanted: SubscriptionFilter, *, messageset_ids: list[int] | None = None
) -> dict[str, Any]:
    """The filters as parameters of the statement; ``messageset_ids`` are the sets they allow."""
    filters = asdict(wanted, recurse=False)
    filters |= {"messageset_ids": messageset_ids, "ready": None, "in_process": None}
    if messageset_ids is not None and len(messageset_ids) == 1 and wanted.messageset_id is None:
        filters["messageset_id"] = messageset_ids[0]  # read in order from its index
    if wanted.process_status in _AS_READY:
        filters |= {"process_status": None, _AS_READY[wanted.process_status]: READY}
    if wanted.metadata is not None:
        filters["metadata"] = Json(wanted.metadata)
    return filters


async def knows_user(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a user, who may have made or changed subscriptions."""
    return await transaction.maybe(QUERIES.find_filtered_user, int, id=row_id) is not None
