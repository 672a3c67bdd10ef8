"""What operators do to many subscriptions, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from attrs import asdict, frozen

from sbm.model.prepend import LANGUAGE
from sbm.model.selection import Selection
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("repairs")


async def count_all(transaction: Transaction) -> int:
    """How many subscriptions there are."""
    return await transaction.one(QUERIES.count_subscriptions, int)


@frozen(kw_only=True)
class Stuck:
    """How many of a message set are in error, with this status."""

    short_name: str
    process_status: int
    count: int


async def count_stuck(
    transaction: Transaction, *, statuses: Sequence[int], selection: Selection
) -> list[Stuck]:
    """Those that match and are not completed, by message set and status."""
    return await transaction.many(
        QUERIES.count_stuck, Stuck, statuses=list(statuses), **asdict(selection)
    )


@frozen(kw_only=True)
class Place:
    """Where subscriptions have been gone through to, from the newest on; at first, nowhere."""

    created_at: datetime | None = None
    id: UUID | None = None


async def reset_stuck(
    transaction: Transaction, *, status: int, selection: Selection, behind: Place, limit: int
) -> tuple[list[UUID], int, Place | None]:
    """Make the next ``limit`` ready again; who they were, and the place of the last one.

    None: there are no more. In between, how many of them were left: changed meanwhile, or locked by
    somebody else.
    """
    found = await transaction.many(
        QUERIES.reset_stuck,
        _reset,
        status=status,
        limit=limit,
        from_time=behind.created_at,
        from_id=behind.id,
        **asdict(selection),
    )
    if not found:
        return [], 0, None
    place, _ = found[-1]
    reset = [one.id for one, is_reset in found if is_reset and one.id is not None]
    return reset, len(found) - len(reset), place


async def reach(transaction: Transaction, *, behind: Place, limit: int) -> tuple[Place | None, int]:
    """Up to where the next ``limit`` subscriptions go, and how many they are.

    None: there are none behind that place.
    """
    reached = await transaction.maybe(
        QUERIES.reach_place, _reached, from_time=behind.created_at, from_id=behind.id, limit=limit
    )
    return reached or (None, 0)


async def list_under_way(
    transaction: Transaction,
    *,
    behind: Place,
    reach: Place,
    messageset_ids: Sequence[int],
    selection: Selection,
) -> list[UUID]:
    """Behind a place, to ``reach``: those of these message sets that match and are under way."""
    return await transaction.many(
        QUERIES.list_under_way,
        UUID,
        from_time=behind.created_at,
        from_id=behind.id,
        to_time=reach.created_at,
        to_id=reach.id,
        messageset_ids=list(messageset_ids),
        lang=selection.lang,
        schedule_id=selection.schedule_id,
    )


async def hold(transaction: Transaction, *, ids: Sequence[UUID]) -> list[UUID]:
    """Keep these from being changed until the transaction ends; answers those that are held.

    The others are locked by somebody else, or gone.
    """
    return await transaction.many(QUERIES.hold_subscriptions, UUID, ids=list(ids))


# Nothing in the way; it waits already; another one waits; metadata that hold no keys; with the next
# message there would be more characters than can be sent.
Verdict = Literal["free", "same", "other", "odd", "long"]


@frozen(kw_only=True)
class PrependCandidate:
    """One that may be given a prepend; ``waiting`` is the one that it has."""

    id: UUID
    verdict: Verdict
    waiting: str | None


async def decide_prepends(
    transaction: Transaction,
    *,
    ids: Sequence[UUID],
    messageset_ids: Sequence[int],
    prepend: str,
    limit: int,
) -> list[PrependCandidate]:
    """What stands in the way of this prepend, for those of these that are still under way.

    ``limit``: how many characters it may have together with the next message.
    """
    return await transaction.many(
        QUERIES.decide_prepends,
        PrependCandidate,
        ids=list(ids),
        messageset_ids=list(messageset_ids),
        prepend=prepend,
        language=LANGUAGE,
        limit=limit,
    )


async def set_prepends(transaction: Transaction, *, ids: Sequence[UUID], prepend: str) -> int:
    """Have this go out before the next message of each of these, which are held."""
    return await transaction.execute(
        QUERIES.set_prepends, ids=list(ids), prepend=prepend, language=LANGUAGE
    )


def _reset(*, is_reset: bool, **place: Any) -> tuple[Place, bool]:
    return Place(**place), is_reset


def _reached(*, rows: int, **place: Any) -> tuple[Place, int]:
    return Place(**place), rows
