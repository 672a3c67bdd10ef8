"""If a person has the same subscription twice, remove all but one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from attrs import evolve, field, frozen

from sbm.model.duplicate import Duplicate, DuplicateRule
from sbm.model.selection import Selection
from sbm.operations.progress import Progress, no_progress
from sbm.operations.selection import CHUNK, Repair, select
from sbm.store import duplicates, locks, repairs
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import RowLocked
from sbm.store.postgres.transaction import Transaction

# How long smaller chunks wait for a lock, if the whole chunk could not get it.
PATIENCE = timedelta(milliseconds=100)


@frozen(kw_only=True)
class Removal:
    """Which duplicates to remove; with ``deactivate`` they are made inactive instead."""

    repair: Repair
    rule: DuplicateRule = field(factory=DuplicateRule)
    deactivate: bool = False


@frozen(kw_only=True)
class RemovalCount:
    """How many subscriptions were removed.

    ``busy`` counts those that were kept because a message to them is in progress. ``locked`` counts
    identities with a subscription that another transaction has locked.
    """

    removed: int = 0
    busy: int = 0
    locked: int = 0


@frozen(kw_only=True)
class _RemovalStep:
    """The result for the subscriptions of some identities; no ``reach``: there were no more."""

    reach: str | None
    rows: int = 0
    duplicates: tuple[Duplicate, ...] = ()
    busy: int = 0
    locked: int = 0


async def remove_duplicates(
    database: Database,
    *,
    removal: Removal,
    tell: Callable[[Sequence[Duplicate]], object],
    progress: Progress = no_progress,
) -> RemovalCount:
    """Go through all subscriptions, identity by identity; calls ``tell`` with each removed one.

    Raises Refused if a filter names an unknown row.
    """
    repair = removal.repair
    selection = await database.transact(select, filters=repair.filters)
    total = await database.transact(repairs.count_all)
    done = RemovalCount()
    after: str | None = duplicates.FIRST
    with progress("subscriptions", total) as advance:
        while after is not None and done.removed != repair.limit:
            left = None if repair.limit is None else repair.limit - done.removed
            step = await _next(
                database, removal=removal, selection=selection, after=after, left=left
            )
            after = step.reach
            done = evolve(
                done,
                removed=done.removed + len(step.duplicates),
                busy=done.busy + step.busy,
                locked=done.locked + step.locked,
            )
            tell(step.duplicates)
            advance(step.rows)
    return done


async def _next(
    database: Database,
    *,
    removal: Removal,
    selection: Selection,
    after: str,
    left: int | None,
) -> _RemovalStep:
    """Take fewer identities at once, down to one, if one of their subscriptions is locked."""
    size = CHUNK
    while True:
        try:
            return await database.transact(
                _remove_next,
                removal=removal,
                selection=selection,
                after=after,
                left=left,
                size=size,
            )
        except RowLocked:
            if size == 1:
                break
        size //= 2
    reach, rows = await database.transact(duplicates.reach, after=after, limit=1)
    return _RemovalStep(reach=reach, rows=rows, locked=1)


async def _remove_next(
    transaction: Transaction,
    *,
    removal: Removal,
    selection: Selection,
    after: str,
    left: int | None,
    size: int,
) -> _RemovalStep:
    repair, rule = removal.repair, removal.rule
    if size < CHUNK:  # do not make the other identities wait, too
        await locks.wait_at_most(transaction, wait=PATIENCE)
    reach, rows = await duplicates.reach(transaction, after=after, limit=size)
    if reach is None:
        return _RemovalStep(reach=None)
    ids = await duplicates.list_candidates(
        transaction, after=after, reach=reach, selection=selection, rule=rule
    )
    if not ids:
        return _RemovalStep(reach=reach, rows=rows)
    held = None if repair.is_dry else await duplicates.hold(transaction, ids=ids)
    found = await duplicates.decide(transaction, ids=ids, selection=selection, rule=rule, held=held)
    meant = tuple(one for one in found if not one.is_busy)
    if left is not None:
        meant = meant[:left]
    if held is not None and meant:
        await duplicates.remove(
            transaction,
            duplicates=meant,
            held=held,
            deactivate=removal.deactivate,
            actor=repair.signature.actor,
            action="subscription remove-duplicates",
            reason=repair.signature.reason,
            details=selection.told(),
        )
    busy = sum(one.is_busy for one in found)
    return _RemovalStep(reach=reach, rows=rows, duplicates=meant, busy=busy)
