"""Subscriptions that are behind: found, told, and helped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from attrs import asdict

from sbm.model.behind import BehindPage, BehindRecord, BehindSubscription, PathStep, RepairCount
from sbm.model.paging import Page, PageRequest
from sbm.store import audit, schedule_runs
from sbm.store.paging import NEWEST_FIRST, read_part
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import Query, load
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
    found = [_straggler(row) for row in rows if row["id"] is not None]
    return BehindPage(last=last, looked_at=looked_at, found=found)


async def fast_forward(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Move these to where they should be, if they still are behind, and send nothing."""
    return await _help(
        transaction, QUERIES.fast_forward, "behind fast-forward", search_id, ids, actor, reason
    )


async def owe(
    transaction: Transaction, *, search_id: int, ids: Sequence[UUID], actor: str, reason: str
) -> RepairCount:
    """Owe the next message to each of these, if they still are behind."""
    return await _help(
        transaction, QUERIES.owe_to_stragglers, "behind send", search_id, ids, actor, reason
    )


async def _help(
    transaction: Transaction,
    query: Query,
    command: str,
    search_id: int,
    ids: Sequence[UUID],
    actor: str,
    reason: str,
) -> RepairCount:
    """Do it to those who still are behind, of all that can be locked; the audit tells how many."""
    await schedule_runs.check(transaction, search_id=search_id)
    held = [row["id"] for row in await transaction.rows(QUERIES.lock_stragglers, ids=list(ids))]
    row = await transaction.row(query, search_id=search_id, ids=held, actor=actor, reason=reason)
    assert row is not None
    helped = RepairCount(done=row["done"], skipped=row["skipped"], begun=row["begun"])
    if helped.done:
        await audit.record(
            transaction, actor=actor, command=command, reason=reason, details=asdict(helped)
        )
    return helped


def _straggler(row: Row) -> BehindRecord:
    fields = {name: value for name, value in row.items() if name not in ("last", "looked_at")}
    way = [PathStep(**leg | {"since": datetime.fromisoformat(leg["since"])}) for leg in row["way"]]
    return BehindRecord(**fields | {"way": way})
