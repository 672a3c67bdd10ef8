"""Chores: calls to the Seed Scheduler that are owed, claimed under a lease, and done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from sbm.model.chore import (
    Chore,
    Gone,
    Kind,
    Nothing,
    PutOff,
    Refused,
    Remote,
    Result,
    Scheduling,
    Told,
)
from sbm.model.send import Trigger
from sbm.store.database import Row, Transaction
from sbm.store.queries import load

QUERIES = load("chores")


async def set_scheduling(transaction: Transaction, *, mode: Scheduling) -> bool:
    """How schedules are scheduled from now on; returns whether that is new to any schedule."""
    row = await transaction.row(QUERIES.set_scheduling, mode=mode)
    return row is not None and bool(row["matters"])


async def read_scheduling(transaction: Transaction) -> Scheduling:
    """How schedules are scheduled."""
    row = await transaction.row(QUERIES.read_scheduling)
    assert row is not None
    return cast(Scheduling, row["mode"])


async def claim(
    transaction: Transaction,
    *,
    limit: int,
    lease: timedelta,
    settle: timedelta,
    only: Sequence[int] | None = None,
) -> list[Chore]:
    """Lease up to ``limit`` chores that are due, with how things stand.

    With ``only``, all are among those.
    """
    rows = await transaction.rows(
        QUERIES.claim_due_chores,
        limit=limit,
        lease=lease,
        settle=settle,
        only=None if only is None else list(only),
    )
    return [_chore(row) for row in rows]


async def expire(transaction: Transaction, *, limit: int) -> int:
    """Owe again up to ``limit`` chores whose lease has ended; returns how many."""
    return await transaction.execute(QUERIES.expire_chores, limit=limit)


async def settle(transaction: Transaction, *, chore: Chore, result: Result) -> None:
    """Write down what came of a chore, and what the Scheduler is known to hold now.

    That is evidence, and counts even where the lease was lost; what is made a second time is
    disabled.
    """
    if isinstance(result, PutOff):
        await transaction.execute(
            QUERIES.put_off_chore,
            id=chore.id,
            attempt=chore.attempt,
            delay=result.delay,
            reason=result.reason,
            is_fault=result.is_fault,
            doubt=result.doubt,
        )
        return
    if isinstance(result, Refused):
        await transaction.execute(
            QUERIES.refuse_chore,
            id=chore.id,
            attempt=chore.attempt,
            revision=chore.revision,
            reason=result.reason,
        )
        return
    is_owed_again = False
    if isinstance(result, Told):
        await _remember(transaction, chore, result.remote)
    elif isinstance(result, Gone):
        await _in_metadata(transaction, chore, None)
        await transaction.execute(QUERIES.forget_remote, kind=chore.kind, target=chore.target)
        is_owed_again = chore.cron_definition is not None
    await transaction.execute(
        QUERIES.finish_chore,
        id=chore.id,
        attempt=chore.attempt,
        revision=chore.revision,
        is_owed_again=is_owed_again,
    )


async def look_at_members(
    transaction: Transaction, *, chore: Chore, limit: int, lease: timedelta
) -> int:
    """Owe chores for the next ``limit`` subscriptions that ``chore`` is about; returns how many.

    Fewer than ``limit`` were the last, or the chore is no longer ours.
    """
    await transaction.execute(QUERIES.lock_chore, id=chore.id)
    row = await transaction.row(
        QUERIES.look_at_members, id=chore.id, attempt=chore.attempt, limit=limit, lease=lease
    )
    if row is None:
        return 0
    if row["count"] < limit:
        await settle(transaction, chore=chore, result=Nothing())
    return int(row["count"])


async def owe(transaction: Transaction, *, kind: Kind, target: str) -> None:
    """Owe a chore, because the Scheduler was found not to be in line."""
    await transaction.execute(QUERIES.owe_chore, kind=kind, target=target)


async def stop_calling(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe it that the Scheduler stops calling for a subscription, which is owed nothing."""
    row = await transaction.row(QUERIES.stop_calling, subscription_id=subscription_id)
    reason = "the Scheduler should not call for single subscriptions: it will be told to stop"
    assert row is not None
    if not row["owed"]:
        reason = "the Scheduler should not call for single subscriptions; its id there is unknown"
    return Trigger(found=row["found"], accepted=False, reason=reason)


async def stop_calling_schedule(
    transaction: Transaction, *, schedule_id: int, clock_ticks: bool
) -> bool:
    """Owe it that the Scheduler stops calling for a schedule; False: it may call.

    That is, it is not known to hold it; or, unless our own clock ticks, it was not told to stop.
    """
    row = await transaction.row(
        QUERIES.stop_calling_schedule, schedule_id=schedule_id, clock_ticks=clock_ticks
    )
    return row is not None


async def find_remote(transaction: Transaction, *, kind: Kind, target: str) -> Remote | None:
    """What the Scheduler is known to hold for this target."""
    row = await transaction.row(QUERIES.find_remote, kind=kind, target=target)
    if row is None:
        return None
    return Remote(
        id=row["remote_id"], cron_definition=row["cron_definition"], enabled=row["enabled"]
    )


async def list_refused(transaction: Transaction, *, limit: int) -> list[tuple[str, str, str]]:
    """Kind, target and reason of the chores that were refused, the newest first."""
    rows = await transaction.rows(QUERIES.list_refused, limit=limit)
    return [(row["kind"], row["target"], row["reason"]) for row in rows]


async def _remember(transaction: Transaction, chore: Chore, remote: Remote) -> None:
    if chore.kind == "leftover":
        return
    # The subscription before the chore, as whoever changes a subscription locks them.
    await _in_metadata(transaction, chore, remote.id)
    about = {"kind": chore.kind, "target": chore.target}
    row = await transaction.row(
        QUERIES.remember_remote,
        **about,
        remote_id=remote.id,
        cron_definition=remote.cron_definition,
        enabled=remote.enabled,
    )
    if row is None:
        await owe(transaction, kind="leftover", target=remote.id)
        known = await find_remote(transaction, kind=chore.kind, target=chore.target)
        await _in_metadata(transaction, chore, known.id if known else None)
    await transaction.execute(QUERIES.forget_remote_of_nobody, **about)


async def _in_metadata(transaction: Transaction, chore: Chore, remote_id: str | None) -> None:
    if chore.kind == "subscription":
        await transaction.execute(
            QUERIES.remember_in_metadata,
            subscription_id=UUID(chore.target),
            remote_id=remote_id,
        )


def _chore(row: Row) -> Chore:
    remote = None
    if row["remote_id"] is not None:
        remote = Remote(
            id=row["remote_id"], cron_definition=row["told_cron"], enabled=row["told_enabled"]
        )
    names = ("id", "kind", "target", "attempt", "revision", "faults", "owed_at")
    return Chore(
        **{name: row[name] for name in names},
        cron_definition=row["cron_definition"],
        remote=remote,
        is_doubtful=row["is_doubtful"],
        is_late=row["is_late"],
    )
