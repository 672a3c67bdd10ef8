"""Changes that operators make to many subscriptions, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from attrs import asdict, frozen

from sbm.model.content_limits import ContentLimits
from sbm.model.metadata import MAX_METADATA_VALUES
from sbm.model.prepend import LANGUAGE
from sbm.model.selection import Selection
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("repairs")


async def count_all(transaction: Transaction) -> int:
    """How many subscriptions there are."""
    return await transaction.one(QUERIES.count_subscriptions, int)


@frozen(kw_only=True)
class StuckCount:
    """How many of a message set are in error, with this status."""

    short_name: str
    process_status: int
    count: int


async def count_stuck(
    transaction: Transaction, *, statuses: Sequence[int], selection: Selection
) -> list[StuckCount]:
    """Subscriptions that match and are not completed, by message set and status."""
    return await transaction.many(
        QUERIES.count_stuck, StuckCount, statuses=list(statuses), **asdict(selection)
    )


@frozen(kw_only=True)
class CandidatePlace:
    """The last subscription that was looked at, from the newest on; at first, none."""

    created_at: datetime | None = None
    id: UUID | None = None


async def reset_stuck(
    transaction: Transaction,
    *,
    status: int,
    selection: Selection,
    behind: CandidatePlace,
    limit: int,
) -> tuple[list[UUID], int, CandidatePlace | None]:
    """Make the next ``limit`` ready again.

    Returns their ids; how many were left, because they were changed meanwhile, or because another
    transaction has locked them; and the place of the last one, or None if there are no more.
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


async def reach(
    transaction: Transaction, *, behind: CandidatePlace, limit: int
) -> tuple[CandidatePlace | None, int]:
    """The place of the last of the next ``limit`` subscriptions, and how many these are.

    None if there are none after ``behind``.
    """
    reached = await transaction.maybe(
        QUERIES.reach_place, _reached, from_time=behind.created_at, from_id=behind.id, limit=limit
    )
    return reached or (None, 0)


async def list_under_way(
    transaction: Transaction,
    *,
    behind: CandidatePlace,
    reach: CandidatePlace,
    messageset_ids: Sequence[int],
    selection: Selection,
) -> list[UUID]:
    """Subscriptions of these sets, after ``behind`` to ``reach``, that match and are under way."""
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
    """Lock these until the transaction ends; returns those that are locked.

    The others are locked by another transaction, or do not exist any more.
    """
    return await transaction.many(QUERIES.hold_subscriptions, UUID, ids=list(ids))


# It can be set; it waits already; another prepend waits; the metadata are not an object; together
# with the next message it has more characters than can be sent; the metadata would be too large.
CandidateState = Literal["free", "same", "other", "odd", "long", "large"]


@frozen(kw_only=True)
class PrependCandidate:
    """A subscription that may get a prepend; ``waiting`` is the one that it has."""

    id: UUID
    verdict: CandidateState
    waiting: str | None


async def decide_prepends(
    transaction: Transaction,
    *,
    ids: Sequence[UUID],
    messageset_ids: Sequence[int],
    prepend: str,
    limits: ContentLimits,
) -> list[PrependCandidate]:
    """Whether each of these that is still under way can get this prepend, or why it cannot.

    ``limits`` are those of the prepend and the next message together, and of metadata.
    """
    return await transaction.many(
        QUERIES.decide_prepends,
        PrependCandidate,
        ids=list(ids),
        messageset_ids=list(messageset_ids),
        prepend=prepend,
        language=LANGUAGE,
        limit=limits.text_length,
        metadata_limit=limits.metadata_bytes,
        value_limit=MAX_METADATA_VALUES,
    )


async def set_prepends(transaction: Transaction, *, ids: Sequence[UUID], prepend: str) -> int:
    """Set this prepend for the next message of each of these, which are locked."""
    return await transaction.execute(
        QUERIES.set_prepends, ids=list(ids), prepend=prepend, language=LANGUAGE
    )


def _reset(*, is_reset: bool, **place: Any) -> tuple[CandidatePlace, bool]:
    return CandidatePlace(**place), is_reset


def _reached(*, rows: int, **place: Any) -> tuple[CandidatePlace, int]:
    return CandidatePlace(**place), rows
