"""Make subscriptions that are in error ready again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from attrs import evolve, frozen

from sbm.model.selection import Selection
from sbm.operations.progress import Progress, no_progress
from sbm.operations.selection import CHUNK, Repair, select
from sbm.store import audit, repairs
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.store.repairs import CandidatePlace, StuckCount

# The values of process_status that are errors.
STATUSES = (-1, -2)


@frozen(kw_only=True)
class StuckSubscriptions:
    """How many match in each message set and status, and how many to reset."""

    selection: Selection
    counts: list[StuckCount]
    meant: int


@frozen(kw_only=True)
class ResetCount:
    """How many were reset, and how many were not, because they were changed meanwhile or locked."""

    reset: int = 0
    left: int = 0


async def find_stuck(
    transaction: Transaction, *, repair: Repair, statuses: Sequence[int] = STATUSES
) -> StuckSubscriptions:
    """The subscriptions that would be reset; raises Refused if a filter names an unknown row."""
    selection = await select(transaction, filters=repair.filters)
    counts = await repairs.count_stuck(transaction, statuses=statuses, selection=selection)
    meant = sum(one.count for one in counts)
    if repair.limit is not None:
        meant = min(meant, repair.limit)
    return StuckSubscriptions(selection=selection, counts=counts, meant=meant)


async def reset_stuck(
    database: Database,
    *,
    repair: Repair,
    stuck: StuckSubscriptions,
    statuses: Sequence[int] = STATUSES,
    progress: Progress = no_progress,
) -> ResetCount:
    """Set process_status to 0 if it is an error, a chunk in each transaction."""
    done = ResetCount()
    with progress("subscriptions", stuck.meant) as advance:
        for status in statuses:
            place: CandidatePlace | None = CandidatePlace()
            while place is not None and done.reset != repair.limit:
                limit = CHUNK
                if repair.limit is not None:
                    limit = min(limit, repair.limit - done.reset)
                ids, left, place = await database.transact(
                    _reset_next,
                    status=status,
                    selection=stuck.selection,
                    behind=place,
                    limit=limit,
                    repair=repair,
                )
                done = evolve(done, reset=done.reset + len(ids), left=done.left + left)
                advance(len(ids))
    return done


async def _reset_next(
    transaction: Transaction,
    *,
    status: int,
    selection: Selection,
    behind: CandidatePlace,
    limit: int,
    repair: Repair,
) -> tuple[list[UUID], int, CandidatePlace | None]:
    ids, left, place = await repairs.reset_stuck(
        transaction, status=status, selection=selection, behind=behind, limit=limit
    )
    if ids:
        await audit.record(
            transaction,
            actor=repair.signature.actor,
            action="subscription reset-stuck",
            reason=repair.signature.reason,
            details=selection.told()
            | {"status": status, "count": len(ids), "subscriptions": list(map(str, ids))},
        )
    return ids, left, place
