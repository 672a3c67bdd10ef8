"""Subscriptions that are behind: found, told, sent to, moved on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sbm.model.behind import BehindPage, BehindRecord, BehindSubscription, PathStep, RepairCount
from sbm.model.paging import Page, PageRequest
from sbm.store import schedule_runs
from sbm.store.paging import read_part
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load
from sbm.store.schedule_runs import RunFilter

QUERIES = load("behind_subscriptions")


async def list_page(transaction: Transaction, *, window: PageRequest) -> Page[BehindSubscription]:
    """A part of all of them, newest first."""
    return await read_part(transaction, QUERIES.list_behind, BehindSubscription, window)


async def find(transaction: Transaction, *, behind_id: int) -> BehindSubscription | None:
    """The one with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_one_behind, BehindSubscription, id=behind_id)


async def search(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int
) -> UUID | None:
    """Look at the next ``limit`` subscriptions by id, and put down which of them are behind.

    Returns the last one looked at, or None: there was none left.
    """
    await schedule_runs.check(transaction, search_id=search_id)
    return await transaction.maybe(
        QUERIES.find_behind, UUID, search_id=search_id, after=after, limit=limit
    )


async def look(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int, wanted: RunFilter
) -> BehindPage | None:
    """Look at the next ``limit`` subscriptions by id, and put nothing down; None: no more."""
    await schedule_runs.check(transaction, search_id=search_id)
    rows = await transaction.many(
        QUERIES.look_for_behind,
        _looked_at,
        search_id=search_id,
        after=after,
        limit=limit,
        messageset_id=wanted.messageset_id,
        schedule_id=wanted.schedule_id,
    )
    if not rows:
        return None
    last, looked_at, _ = rows[0]
    found = [record for _, _, record in rows if record is not None]
    return BehindPage(last=last, looked_at=looked_at, found=found)


async def lock(transaction: Transaction, *, ids: Sequence[UUID]) -> list[UUID]:
    """Keep these from being changed until the transaction ends; returns those that are held."""
    return await transaction.many(QUERIES.lock_behind, UUID, ids=list(ids))


async def fast_forward(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Move these, which are held, to where they should be, if they are behind; send nothing."""
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
    """Owe the next message to each of these, which are held, if they are behind."""
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
