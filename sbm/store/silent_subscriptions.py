"""Active subscriptions that no tick reaches: they are found, recorded, counted and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import asdict
from psycopg2.extras import Json

from sbm.model.paging import Page, PageRequest
from sbm.model.silence import (
    SilenceCause,
    SilentBatch,
    SilentCounts,
    SilentGroup,
    SilentPage,
    SilentPerson,
    SilentRecord,
)
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("silent_subscriptions")


async def list_page(
    transaction: Transaction, *, page: PageRequest, cause: SilenceCause | None = None
) -> Page[SilentRecord]:
    """A page of those that the last search found."""
    return await read_page(transaction, QUERIES.list_silent, SilentRecord, page, cause=cause)


async def find(transaction: Transaction, *, silent_id: int) -> SilentRecord | None:
    """The one with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_one_silent, SilentRecord, id=silent_id)


async def search(
    transaction: Transaction, *, after: UUID, limit: int, never: Sequence[int]
) -> SilentBatch | None:
    """Look at the next ``limit`` subscriptions by id, and record which of them are silent.

    ``never`` are the schedules that are never due. Returns None if no subscription is left.
    """
    return await transaction.maybe(
        QUERIES.find_silent, _batch, after=after, limit=limit, never=list(never)
    )


async def look(
    transaction: Transaction, *, after: UUID, limit: int, never: Sequence[int]
) -> SilentPage | None:
    """Look at the next ``limit`` subscriptions by id, and record nothing; None if none is left."""
    rows = await transaction.many(
        QUERIES.look_for_silent, _looked_at, after=after, limit=limit, never=list(never)
    )
    if not rows:
        return None
    last, active, _ = rows[0]
    return SilentPage(
        last=last, active=active, found=[person for *_, person in rows if person is not None]
    )


async def keep_counts(
    transaction: Transaction, *, active: int, counts: Mapping[SilentGroup, int]
) -> None:
    """Keep the result of a whole search, the largest groups first."""
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    written = [asdict(group) | {"count": count} for group, count in ordered]
    await transaction.execute(QUERIES.keep_counts, active=active, counts=Json(written))


async def find_counts(transaction: Transaction) -> SilentCounts | None:
    """The result of the last search, if there was one."""
    return await transaction.maybe(QUERIES.find_counts, _counts)


def _batch(*, last: UUID, active: int, counts: list[dict[str, Any]]) -> SilentBatch:
    return SilentBatch(last=last, active=active, counts=dict(map(_group, counts)))


def _counts(*, searched_at: datetime, active: int, counts: list[dict[str, Any]]) -> SilentCounts:
    return SilentCounts(searched_at=searched_at, active=active, counts=list(map(_group, counts)))


def _group(row: dict[str, Any]) -> tuple[SilentGroup, int]:
    columns = dict(row)
    count = columns.pop("count")
    return SilentGroup(**columns), count


def _looked_at(*, last: UUID, active: int, **person: Any) -> tuple[UUID, int, SilentPerson | None]:
    found = None if person["subscription_id"] is None else SilentPerson(**person)
    return last, active, found
