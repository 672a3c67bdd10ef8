"""Subscriptions that are behind: they are found, listed, sent to, and moved on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sbm.model.behind import BehindPage, BehindRecord, BehindSubscription, PathStep, RepairCount
from sbm.model.paging import Page, PageRequest
from sbm.store import schedule_runs
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedule_runs import RunFilter

QUERIES = load("behind_subscriptions")


async def list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    messageset_id: int | None = None,
    at_least: int | None = None,
) -> Page[BehindSubscription]:
    """A page of those in this set that are so far behind, newest first; None is no filter."""
    return await read_page(
        transaction,
        QUERIES.list_behind,
        BehindSubscription,
        page,
        messageset_id=messageset_id,
        at_least=at_least,
    )


async def find(transaction: Transaction, *, behind_id: int) -> BehindSubscription | None:
    """The one with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_one_behind, BehindSubscription, id=behind_id)


async def forget(transaction: Transaction, *, ids: Sequence[UUID]) -> None:
    """Take these off the list of the last search."""
    await transaction.execute(QUERIES.forget_behind, ids=list(ids))


async def search(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int
) -> UUID | None:
    """Look at the next ``limit`` subscriptions by id, and record which of them are behind.

    Returns the last one that was looked at, or None if none was left.
    """
    await schedule_runs.check(transaction, search_id=search_id)
    return await transaction.maybe(
        QUERIES.find_behind, UUID, search_id=search_id, after=after, limit=limit
    )


async def look(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int, wanted: RunFilter
) -> BehindPage | None:
    """Look at the next ``limit`` subscriptions by id, and record nothing; None if none is left."""
    await schedule_runs.check(transaction, search_id=search_id)
    rows = await transaction.many(
        QUERIES.look_for_behind,
        _looked_at,
        search_id=search_id,
        after=after,
        limit=limit,
        messageset_id=wanted.messageset_id,
        schedule_id=wanted.schedule_id,
        ids=None if wanted.ids is None else list(wanted.ids),
    )
    if not rows:
        return None
    last, looked_at, _ = rows[0]
    found = [record for _, _, record in rows if record is not None]
    return BehindPage(last=last, looked_at=looked_at, found=found)


async def lock(transaction: Transaction, *, ids: Sequence[UUID]) -> list[UUID]:
    """Lock these until the transaction ends; returns those that are locked."""
    return await transaction.many(QUERIES.lock_behind, UUID, ids=list(ids))


async def fast_forward(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Move these, which are locked, to where they should be if they are behind; send nothing."""
    return await transaction.one(
        QUERIES.fast_forward,
        RepairCount,
        search_id=search_id,
        ids=list(ids),
        actor=actor,
        reason=reason,
    )


async def owe(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Owe the next message to each of these, which are locked, if they are behind."""
    return await transaction.one(
        QUERIES.owe_to_behind,
        RepairCount,
        search_id=search_id,
        ids=list(ids),
        actor=actor,
        reason=reason,
    )


def _looked_at(
    *, last: UUID, looked_at: int, way: list[dict[str, Any]] | None, **columns: Any
) -> tuple[UUID, int, BehindRecord | None]:
    if way is None:
        return last, looked_at, None
    path = [PathStep(**step | {"since": datetime.fromisoformat(step["since"])}) for step in way]
    return last, looked_at, BehindRecord(**columns, path=path)
