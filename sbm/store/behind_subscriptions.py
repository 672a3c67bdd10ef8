"""Subscriptions that are behind: found, and told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sbm.model.behind import BehindSubscription
from sbm.model.page import Part, Window
from sbm.store.database import Transaction
from sbm.store.parts import NEWEST_FIRST, read_part
from sbm.store.queries import load

QUERIES = load("behind_subscriptions")

FIRST = UUID(int=0)


async def list_page(transaction: Transaction, *, window: Window) -> Part[BehindSubscription]:
    """A part of all of them, newest first."""
    return await read_part(
        transaction, QUERIES.list_behind, BehindSubscription, window, NEWEST_FIRST
    )


async def find(transaction: Transaction, *, behind_id: int) -> BehindSubscription | None:
    """The one with this id, if there is one."""
    row = await transaction.row(QUERIES.find_one_behind, id=behind_id)
    return BehindSubscription(**row) if row else None


async def begin_search(transaction: Transaction) -> tuple[datetime, datetime] | None:
    """Forget the runs of the last search; returns since when and until when they matter.

    None: nobody is subscribed.
    """
    await transaction.execute(QUERIES.clear_schedule_runs)
    row = await transaction.row(QUERIES.find_oldest_active)
    return (row["since"], row["now"]) if row else None


async def add_runs(
    transaction: Transaction, *, schedule_id: int, first: int, runs: Sequence[datetime]
) -> None:
    """Remember runs of a schedule, in order; ``first`` is the number of the first, from 1."""
    await transaction.execute(
        QUERIES.insert_schedule_runs, schedule_id=schedule_id, first=first, runs=list(runs)
    )


async def end_runs(transaction: Transaction) -> None:
    """All runs are there: let the planner know."""
    await transaction.execute(QUERIES.analyze_schedule_runs)


async def search(transaction: Transaction, *, after: UUID, limit: int) -> UUID | None:
    """Look at the next ``limit`` subscriptions by id, and put down which of them are behind.

    Returns the last one looked at, or None: there was none left.
    """
    row = await transaction.row(QUERIES.find_behind, after=after, limit=limit)
    return row["last"] if row else None
