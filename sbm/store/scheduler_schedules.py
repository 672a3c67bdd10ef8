"""Lists what the Scheduler holds, and compares it with what it should hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import asdict, frozen
from psycopg2.extras import Json

from sbm.model.scheduler_call import Action, CallKind, Difference, Scheduling
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("scheduler_schedules")


@frozen(kw_only=True)
class ListedSchedule:
    """An entry of the Scheduler's list; if its kind is None, it does not call us.

    ``made_with`` is the cron that it was made with, if that is known. ``is_addressed``: its
    endpoint and its token are what they should be.
    """

    remote_id: str
    kind: CallKind | None
    target: str | None
    cron_definition: str | None
    made_with: str | None
    enabled: bool
    is_addressed: bool
    created_at: str


async def note(
    transaction: Transaction, *, listing_id: UUID, entries: Iterable[ListedSchedule]
) -> None:
    """Note a page of the Scheduler's list."""
    await transaction.execute(
        QUERIES.list_remotes,
        listing_id=listing_id,
        entries=Json([asdict(entry) for entry in entries]),
    )


async def note_crons(transaction: Transaction, *, entries: Iterable[ListedSchedule]) -> None:
    """Note with which crons the schedules on a page were made."""
    crons = {entry.made_with for entry in entries if entry.made_with}
    await transaction.execute(QUERIES.list_crons, crons=list(crons))


async def forget_unlisted_crons(transaction: Transaction, *, since: datetime) -> None:
    """Forget the crons that are on no page of the list that was begun at this moment."""
    await transaction.execute(QUERIES.forget_unlisted_crons, since=since)


async def forget(transaction: Transaction, *, listing_id: UUID) -> None:
    """Delete a listing that is not needed any more."""
    await transaction.execute(QUERIES.forget_listings, listing_id=listing_id)


async def compare_subscriptions(
    transaction: Transaction,
    *,
    listing_id: UUID,
    mode: Scheduling,
    since: datetime,
    after: UUID,
    limit: int,
) -> tuple[UUID | None, list[Difference]]:
    """How the Scheduler and the next ``limit`` subscriptions compare.

    Also returns the last one that was looked at, or None at the end.
    """
    compared = await transaction.many(
        QUERIES.compare_subscriptions,
        _compared,
        listing_id=listing_id,
        mode=mode,
        since=since,
        after=after,
        limit=limit,
    )
    last, _ = compared[-1]  # the row that sums up
    return last, [difference for _, difference in compared if difference is not None]


async def compare_schedules(
    transaction: Transaction, *, listing_id: UUID, mode: Scheduling, since: datetime
) -> list[Difference]:
    """How the Scheduler and the schedules compare."""
    compared = await transaction.many(
        QUERIES.compare_schedules, _compared, listing_id=listing_id, mode=mode, since=since
    )
    return [difference for _, difference in compared if difference is not None]


async def list_surplus(
    transaction: Transaction, *, listing_id: UUID, after: str, limit: int
) -> tuple[str | None, list[Difference]]:
    """Those of the next ``limit`` entries of a listing for which the Scheduler should not call.

    Also returns the last one that was looked at, or None at the end.
    """
    entries = await transaction.many(
        QUERIES.list_surplus, _entry, listing_id=listing_id, after=after, limit=limit
    )
    last = entries[-1][0].target if entries else None
    return last, [difference for difference, is_surplus in entries if is_surplus]


async def apply(
    transaction: Transaction, *, differences: Sequence[Difference], since: datetime
) -> None:
    """Store the findings, and owe the calls that bring the Scheduler up to date."""
    await transaction.execute(
        QUERIES.apply_differences,
        differences=Json([asdict(one) for one in differences]),
        since=since,
    )


def _compared(
    *,
    last: UUID | None = None,
    kind: CallKind,
    target: str,
    remote_id: str | None,
    action: Action | None,
    is_addressed: bool | None,
    cron_definition: str | None,
    made_with: str | None,
    enabled: bool | None,
    **_: Any,
) -> tuple[UUID | None, Difference | None]:
    if not (remote_id or action):
        return last, None
    return last, Difference(
        kind=kind,
        target=target,
        remote_id=remote_id,
        action=action,
        is_addressed=is_addressed is not False,
        about=f"{kind} {target}",
        cron_definition=cron_definition,
        made_with=made_with,
        enabled=enabled,
    )


def _entry(
    *, kind: CallKind, target: str, remote_id: str, is_surplus: bool
) -> tuple[Difference, bool]:
    difference = Difference(
        kind="leftover",
        target=remote_id,
        remote_id=remote_id,
        cron_definition=None,
        enabled=True,
        action="disable",
        about=f"{kind} {target}",
    )
    return difference, is_surplus
