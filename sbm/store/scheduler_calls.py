"""Chores: calls to the Seed Scheduler that are owed, claimed under a lease, and done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from attrs import asdict, frozen

from sbm.model.scheduler_call import (
    Gone,
    Kind,
    Nothing,
    PutOff,
    Refused,
    Remote,
    Result,
    SchedulerCall,
    Scheduling,
    Silence,
    Told,
    Troubled,
)
from sbm.model.send import Trigger
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import load
from sbm.store.postgres.text import storable

QUERIES = load("scheduler_calls")

# So many go on at once when the first schedule with their cron was made. The others follow a few at
# a time, so that what is owed meanwhile has its turn between them.
RELEASED = 100
RELEASED_PER_CLAIM = 10

_DAY = timedelta(days=1)


@frozen(kw_only=True)
class Claim:
    """Chores that were claimed, and how many more were found that have to wait for one of them."""

    claimed: list[SchedulerCall]
    held_back: int


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
    window: int,
    lease: timedelta,
    settle: timedelta,
    takes_over: bool = True,
    only: Sequence[int] | None = None,
) -> Claim:
    """Lease up to ``limit`` of the next ``window`` chores that are due, each with its next step.

    With ``only``, all are among those.
    Those that would be the second to make a schedule with a new cron wait for the first; for good,
    unless this one ``takes_over`` if the time of the first is over.
    """
    await release(
        transaction, limit=RELEASED_PER_CLAIM, longest=lease + settle if takes_over else None
    )
    rows = await transaction.rows(
        QUERIES.claim_due_chores,
        limit=limit,
        window=window,
        lease=lease,
        settle=settle,
        takes_over=takes_over,
        only=None if only is None else list(only),
    )
    claimed = [_chore(row) for row in rows if row["is_claimed"]]
    return Claim(claimed=claimed, held_back=len(rows) - len(claimed))


async def release(transaction: Transaction, *, limit: int, longest: timedelta | None = None) -> int:
    """Owe again up to ``limit`` chores of each cron that need wait no longer; returns how many.

    ``longest`` is for how long a cron can be taken at most; without it, one that is taken stays so,
    however long it has been.
    """
    return await transaction.execute(
        QUERIES.release_chores,
        limit=limit,
        longest=longest or timedelta(0),
        takes_over=longest is not None,
    )


async def expire(transaction: Transaction, *, limit: int) -> int:
    """Owe again up to ``limit`` chores whose lease has ended; returns how many."""
    return await transaction.execute(QUERIES.expire_chores, limit=limit)


async def settle(
    transaction: Transaction, *, chore: SchedulerCall, result: Result
) -> Silence | None:
    """Write down what came of a step, and what the Scheduler is known to hold now.

    That is evidence, and counts even where the lease was lost; what is made a second time is
    disabled. Returns the time in which nothing called, if that time is over now.
    """
    silence = None
    if isinstance(result, Told):
        silence = await _remember(transaction, chore, result)
    elif isinstance(result, Gone):
        await _in_metadata(transaction, chore, None)
        await transaction.execute(QUERIES.forget_remote, kind=chore.kind, target=chore.target)
        await transaction.execute(QUERIES.forget_cron, cron=chore.wanted)
    await _settle_cron(transaction, chore, result)
    claim = {"id": chore.id, "attempt": chore.attempt}
    if isinstance(result, PutOff):
        await transaction.execute(
            QUERIES.put_off_chore,
            **claim,
            delay=result.delay,
            reason=storable(result.reason),
            is_fault=result.is_fault,
            doubt=result.doubt,
        )
    elif isinstance(result, Refused):
        await transaction.execute(
            QUERIES.refuse_chore,
            **claim,
            revision=chore.revision,
            reason=storable(result.reason),
        )
    else:
        goes_on = isinstance(result, Told) and result.goes_on
        is_gone = isinstance(result, Gone) and chore.wanted is not None
        await transaction.execute(
            QUERIES.finish_chore,
            **claim,
            revision=chore.revision,
            is_owed_again=goes_on or is_gone,
        )
    return silence


async def _settle_cron(transaction: Transaction, chore: SchedulerCall, result: Result) -> None:
    """Let those go on that wait for what this chore was to find out of its cron."""
    if chore.step not in ("create", "look"):
        return
    if isinstance(result, Told) and result.remote.made_with is not None:
        await transaction.execute(QUERIES.know_cron, cron=result.remote.made_with)
    is_open = isinstance(result, PutOff) and result.doubt != "none"
    if not is_open:
        await transaction.execute(QUERIES.free_cron, id=chore.id, attempt=chore.attempt)
        await release(transaction, limit=RELEASED)


async def look_at_members(
    transaction: Transaction, *, chore: SchedulerCall, limit: int, lease: timedelta
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
    return None if row is None else _remote(row)


async def list_troubled(transaction: Transaction, *, limit: int) -> list[Troubled]:
    """The chores that were refused, the newest first, and then those that fail."""
    rows = await transaction.rows(QUERIES.list_troubled, limit=limit)
    return [Troubled(**row) for row in rows]


async def _remember(transaction: Transaction, chore: SchedulerCall, told: Told) -> Silence | None:
    for surplus in told.surplus:
        await owe(transaction, kind="leftover", target=surplus)
    if chore.kind == "leftover":
        return None
    # The subscription or schedule before the chore, as whoever changes one locks them.
    await _in_metadata(transaction, chore, told.remote.id)
    if chore.kind == "schedule":
        await transaction.execute(QUERIES.lock_schedule_of_chore, schedule_id=int(chore.target))
    about = {"kind": chore.kind, "target": chore.target}
    before = await transaction.row(QUERIES.lock_remote, **about)
    silent_since = before["silent_since"] if before else None
    # No clock is a day ahead, but for a wrong one, and no moment is made up for before it comes.
    latest = max(chore.claimed_at, transaction.local_time) + _DAY
    at = told.at if told.at is None or told.at < latest else None
    row = await transaction.row(
        QUERIES.remember_remote,
        **about,
        **asdict(told.remote, filter=lambda attribute, _: attribute.name != "id"),
        remote_id=told.remote.id,
        replaces=told.replaces,
        is_silent=told.is_silent,
        silent_since=silent_since or at,
    )
    if row is None:
        await owe(transaction, kind="leftover", target=told.remote.id)
        known = await find_remote(transaction, kind=chore.kind, target=chore.target)
        await _in_metadata(transaction, chore, known.id if known else None)
    await transaction.execute(QUERIES.forget_remote_of_nobody, **about)
    if row is None or told.is_silent or before is None or silent_since is None:
        return None
    return Silence(since=silent_since, until=at or before["now"], now=before["now"])


async def _in_metadata(
    transaction: Transaction, chore: SchedulerCall, remote_id: str | None
) -> None:
    if chore.kind == "subscription":
        await transaction.execute(
            QUERIES.remember_in_metadata,
            subscription_id=UUID(chore.target),
            remote_id=remote_id,
        )


def _chore(row: Row) -> SchedulerCall:
    names = ("id", "kind", "target", "attempt", "revision", "faults", "fault", "owed_at")
    more = ("claimed_at", "step", "schedule_id", "wanted", "is_late")
    return SchedulerCall(
        **{name: row[name] for name in (*names, *more)},
        remote=_remote(row) if row["remote_id"] is not None else None,
    )


def _remote(row: Row) -> Remote:
    names = ("cron_definition", "made_with", "enabled", "is_addressed")
    return Remote(id=row["remote_id"], **{name: row[name] for name in names})
