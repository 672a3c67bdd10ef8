"""Calls to the Seed Scheduler that are owed, claimed under a lease, and done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from attrs import asdict, frozen

from sbm.model.scheduler_call import (
    CallKind,
    CallRefused,
    CallResult,
    FailingCall,
    NothingToDo,
    Postponed,
    RemoteSchedule,
    ScheduleGone,
    SchedulerCall,
    Scheduling,
    SilentTime,
    StepDone,
)
from sbm.model.send import Trigger
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction

QUERIES = load("scheduler_calls")

# How many calls go on at once when the first schedule with their cron was made. The others follow a
# few at a time, so that newer calls can be made between them.
RELEASED = 100
RELEASED_PER_CLAIM = 10

# By how much more than lease and settle time together a cron may be reserved. Another daemon's
# now() may be later than ours, and its settings may differ by up to so much. So a clock that was
# wrong by less than this holds back a new cron for so long at most.
RESERVED_LONGER = timedelta(hours=1)

_DAY = timedelta(days=1)


@frozen(kw_only=True)
class Claim:
    """Calls that were claimed, and how many more were found that have to wait for one of them."""

    claimed: list[SchedulerCall]
    held_back: int


async def set_scheduling(transaction: Transaction, *, mode: Scheduling) -> bool:
    """Set how schedules are scheduled from now on; returns whether that is new to any schedule."""
    return await transaction.maybe(QUERIES.set_scheduling, bool, mode=mode) or False


async def read_scheduling(transaction: Transaction) -> Scheduling:
    """How schedules are scheduled."""
    return cast(Scheduling, await transaction.one(QUERIES.read_scheduling, str))


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
    """Lease up to ``limit`` of the next ``window`` calls that are due, each with its next step.

    With ``only``, all have an id in it. Calls that would be the second to make a schedule with a
    new cron wait for the first. If the time of the first is over, another one goes on if
    ``takes_over``.
    """
    longest = lease + settle + RESERVED_LONGER
    await release(transaction, limit=RELEASED_PER_CLAIM, longest=longest if takes_over else None)
    found = await transaction.many(
        QUERIES.claim_due_scheduler_calls,
        _claimed,
        limit=limit,
        window=window,
        lease=lease,
        settle=settle,
        longest=longest,
        takes_over=takes_over,
        only=None if only is None else list(only),
    )
    claimed = [call for call in found if call is not None]
    return Claim(claimed=claimed, held_back=len(found) - len(claimed))


async def release(transaction: Transaction, *, limit: int, longest: timedelta | None = None) -> int:
    """Owe again up to ``limit`` calls of each cron that need wait no longer; returns how many.

    ``longest`` is how long a call may reserve a cron at most; without it, there is no limit.
    """
    return await transaction.execute(
        QUERIES.release_scheduler_calls,
        limit=limit,
        longest=longest or timedelta(0),
        takes_over=longest is not None,
    )


async def expire(transaction: Transaction, *, limit: int) -> int:
    """Owe again up to ``limit`` calls whose lease has ended; returns how many."""
    return await transaction.execute(QUERIES.expire_scheduler_calls, limit=limit)


async def settle(
    transaction: Transaction, *, call: SchedulerCall, result: CallResult
) -> SilentTime | None:
    """Store the result of a step, and what the Scheduler is known to hold now.

    That is evidence, and counts even if the lease was lost; a schedule that was made a second time
    is disabled. Returns the time of silence, in which no schedule was enabled, if it is over now.
    """
    silence = None
    if isinstance(result, StepDone):
        silence = await _remember(transaction, call, result)
    elif isinstance(result, ScheduleGone):
        await _in_metadata(transaction, call, None)
        await transaction.execute(QUERIES.forget_remote, kind=call.kind, target=call.target)
        await transaction.execute(QUERIES.forget_cron, cron=call.wanted)
    await _settle_cron(transaction, call, result)
    claim = {"id": call.id, "attempt": call.attempt}
    if isinstance(result, Postponed):
        await transaction.execute(
            QUERIES.put_off_scheduler_call,
            **claim,
            delay=result.delay,
            reason=storable(result.reason),
            is_fault=result.is_fault,
            doubt=result.doubt,
        )
    elif isinstance(result, CallRefused):
        await transaction.execute(
            QUERIES.refuse_scheduler_call,
            **claim,
            revision=call.revision,
            reason=storable(result.reason),
        )
    else:
        goes_on = isinstance(result, StepDone) and result.goes_on
        is_gone = isinstance(result, ScheduleGone) and call.wanted is not None
        await transaction.execute(
            QUERIES.finish_scheduler_call,
            **claim,
            revision=call.revision,
            is_owed_again=goes_on or is_gone,
        )
    return silence


async def _settle_cron(transaction: Transaction, call: SchedulerCall, result: CallResult) -> None:
    """Let those go on that wait for what this call was to find out of its cron."""
    if call.step not in ("create", "look"):
        return
    if isinstance(result, StepDone) and result.remote.made_with is not None:
        await transaction.execute(QUERIES.know_cron, cron=result.remote.made_with)
    is_open = isinstance(result, Postponed) and result.doubt != "none"
    if not is_open:
        await transaction.execute(QUERIES.free_cron, id=call.id, attempt=call.attempt)
        await release(transaction, limit=RELEASED)


async def look_at_members(
    transaction: Transaction, *, call: SchedulerCall, limit: int, lease: timedelta
) -> int:
    """Owe calls for the next ``limit`` subscriptions that ``call`` is about; returns how many.

    Fewer than ``limit`` were the last, or the call is no longer ours.
    """
    await transaction.execute(QUERIES.lock_scheduler_call, id=call.id)
    looked_at = await transaction.maybe(
        QUERIES.look_at_members, int, id=call.id, attempt=call.attempt, limit=limit, lease=lease
    )
    if looked_at is None:
        return 0
    if looked_at < limit:
        await settle(transaction, call=call, result=NothingToDo())
    return looked_at


async def owe(transaction: Transaction, *, kind: CallKind, target: str) -> None:
    """Owe a call, because the Scheduler was found not to be in line."""
    await transaction.execute(QUERIES.owe_scheduler_call, kind=kind, target=target)


async def stop_calling(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe a call to stop the Scheduler's calls for a subscription, which is owed no send."""
    return await transaction.one(
        QUERIES.stop_calling, _stopped_calling, subscription_id=subscription_id
    )


async def stop_calling_schedule(
    transaction: Transaction, *, schedule_id: int, clock_ticks: bool
) -> bool:
    """Owe a call to stop the Scheduler's calls for a schedule; False: it may call.

    It may call if it is not known to hold the schedule; or if it was not told to stop, and the
    built-in clock does not make the ticks.
    """
    owed = await transaction.execute(
        QUERIES.stop_calling_schedule, schedule_id=schedule_id, clock_ticks=clock_ticks
    )
    return owed > 0


async def find_remote(
    transaction: Transaction, *, kind: CallKind, target: str
) -> RemoteSchedule | None:
    """What the Scheduler is known to hold for this target."""
    return await transaction.maybe(QUERIES.find_remote, _remote, kind=kind, target=target)


async def list_troubled(transaction: Transaction, *, limit: int) -> list[FailingCall]:
    """The calls that were refused, the newest first, and then those that fail."""
    return await transaction.many(QUERIES.list_troubled, FailingCall, limit=limit)


async def _remember(
    transaction: Transaction, call: SchedulerCall, told: StepDone
) -> SilentTime | None:
    for surplus in told.surplus:
        await owe(transaction, kind="leftover", target=surplus)
    if call.kind == "leftover":
        return None
    # Lock the subscription or schedule before the call, in the order of all changes to them.
    await _in_metadata(transaction, call, told.remote.id)
    if call.kind == "schedule":
        await transaction.execute(
            QUERIES.lock_schedule_of_scheduler_call, schedule_id=int(call.target)
        )
    about = {"kind": call.kind, "target": call.target}
    before = await transaction.maybe(QUERIES.lock_remote, _Known, **about)
    silent_since = before.silent_since if before else None
    # Only a wrong clock is a day ahead, and no moment is made up for before it comes.
    latest = max(call.claimed_at, transaction.local_time) + _DAY
    at = told.at if told.at is None or told.at < latest else None
    remembered = await transaction.maybe(
        QUERIES.remember_remote,
        str,
        **about,
        **asdict(told.remote, filter=lambda attribute, _: attribute.name != "id"),
        remote_id=told.remote.id,
        replaces=told.replaces,
        is_silent=told.is_silent,
        silent_since=silent_since or at,
    )
    if remembered is None:
        await owe(transaction, kind="leftover", target=told.remote.id)
        known = await find_remote(transaction, kind=call.kind, target=call.target)
        await _in_metadata(transaction, call, known.id if known else None)
    await transaction.execute(QUERIES.forget_remote_of_nobody, **about)
    if remembered is None or told.is_silent or before is None or silent_since is None:
        return None
    return SilentTime(since=silent_since, until=at or before.now, now=before.now)


async def _in_metadata(
    transaction: Transaction, call: SchedulerCall, remote_id: str | None
) -> None:
    if call.kind == "subscription":
        await transaction.execute(
            QUERIES.remember_in_metadata,
            subscription_id=UUID(call.target),
            remote_id=remote_id,
        )


@frozen(kw_only=True)
class _Known:
    """The stored data of a target: since when there are no calls for it; ``now`` is the time."""

    silent_since: datetime | None
    now: datetime


def _claimed(
    *,
    is_claimed: bool,
    remote_id: str | None,
    cron_definition: str | None,
    made_with: str | None,
    enabled: bool | None,
    is_addressed: bool | None,
    **columns: Any,
) -> SchedulerCall | None:
    if not is_claimed:
        return None
    remote = None
    if remote_id is not None:
        remote = _remote(
            remote_id=remote_id,
            cron_definition=cron_definition,
            made_with=made_with,
            enabled=enabled,
            is_addressed=is_addressed,
        )
    return SchedulerCall(remote=remote, **columns)


def _remote(*, remote_id: str, **columns: Any) -> RemoteSchedule:
    return RemoteSchedule(id=remote_id, **columns)


def _stopped_calling(*, owed: int, found: bool) -> Trigger:
    reason = "the Scheduler should not call for single subscriptions: it will be told to stop"
    if not owed:
        reason = "the Scheduler should not call for single subscriptions; its id there is unknown"
    return Trigger(found=found, accepted=False, reason=reason)
