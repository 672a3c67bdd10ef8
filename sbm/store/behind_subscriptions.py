"""Subscriptions that are behind: found, told, sent to, moved on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sbm.model.behind import BehindPage, BehindRecord, BehindSubscription, PathStep, RepairCount
from sbm.model.paging import Page, PageRequest
from sbm.store import schedule_runs
from sbm.store.paging import NEWEST_FIRST, read_part
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import load
from sbm.store.schedule_runs import Wanted

QUERIES = load("behind_subscriptions")


async def list_page(transaction: Transaction, *, window: PageRequest) -> Page[BehindSubscription]:
    """A part of all of them, newest first."""
    return await read_part(
        transaction, QUERIES.list_behind, BehindSubscription, window, NEWEST_FIRST
    )


async def find(transaction: Transaction, *, behind_id: int) -> BehindSubscription | None:
    """The one with this id, if there is one."""
    row = await transaction.row(QUERIES.find_one_behind, id=behind_id)
    return BehindSubscription(**row) if row else None


async def now(transaction: Transaction) -> datetime:
    """The database's now."""
    row = await transaction.row(QUERIES.read_now)
    assert row is not None
    moment: datetime = row["now"]
    return moment


async def search(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int
) -> UUID | None:
    """Look at the next ``limit`` subscriptions by id, and put down which of them are behind.

    Returns the last one looked at, or None: there was none left.
    """
    await schedule_runs.check(transaction, search_id=search_id)
    row = await transaction.row(QUERIES.find_behind, search_id=search_id, after=after, limit=limit)
    return row["last"] if row else None


async def look(
    transaction: Transaction, *, search_id: int, after: UUID, limit: int, wanted: Wanted
) -> BehindPage | None:
    """Look at the next ``limit`` subscriptions by id, and put nothing down; None: no more."""
    await schedule_runs.check(transaction, search_id=search_id)
    rows = await transaction.rows(
        QUERIES.look_for_behind,
        search_id=search_id,
        after=after,
        limit=limit,
        messageset_id=wanted.messageset_id,
        schedule_id=wanted.schedule_id,
    )
    if not rows:
        return None
    last, looked_at = rows[0]["last"], rows[0]["looked_at"]
    found = [_record(row) for row in rows if row["id"] is not None]
    return BehindPage(last=last, looked_at=looked_at, found=found)


async def lock(transaction: Transaction, *, ids: Sequence[UUID]) -> list[UUID]:
    """Keep these from being changed until the transaction ends; returns those that are held."""
    rows = await transaction.rows(QUERIES.lock_stragglers, ids=list(ids))
    return [row["id"] for row in rows]


async def fast_forward(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Move these, which are held, to where they should be, if they are behind; send nothing."""
    row = await transaction.row(
        QUERIES.fast_forward, search_id=search_id, ids=list(ids), actor=actor, reason=reason
    )
    assert row is not None
    return RepairCount(done=row["done"], skipped=row["skipped"], begun=row["begun"])


async def owe(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Owe the next message to each of these, which are held, if they are behind."""
    row = await transaction.row(
        QUERIES.owe_to_stragglers, search_id=search_id, ids=list(ids), actor=actor, reason=reason
    )
    assert row is not None
    return RepairCount(done=row["done"], skipped=row["skipped"], begun=row["begun"])


def _record(row: Row) -> BehindRecord:
    apart = ("last", "looked_at", "way")
    fields = {name: value for name, value in row.items() if name not in apart}
    path = [
        PathStep(**step | {"since": datetime.fromisoformat(step["since"])}) for step in row["way"]
    ]
    return BehindRecord(**fields, path=path)
