"""Ticks: each says "now" for a schedule, and owes a send to each of its members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import RULE_VERSION, Cron
from sbm.model.paging import Page, PageRequest
from sbm.model.tick import Source, Tick, TicksOfOneDay, UnsentCount
from sbm.store import lost_sends, planning
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("ticks")

# How many rows of the ledger are counted during a request. It takes 0.2 s on a busy machine.
COUNTED_AT_ONCE = 100_000


@frozen(kw_only=True)
class StaleSchedule:
    """A schedule whose next tick by the built-in clock has to be computed.

    ``cron`` is None if its fields cannot be read. ``time_zone`` is the name of its own time zone,
    if it has one. ``now`` is the database's clock. ``due_since`` is
    the first tick that may be due, or None if it was never computed, or by a rule that has changed.
    ``is_ahead``: it was computed while the clock was wrong, and must not be used.
    """

    schedule_id: int
    cron: Cron | None
    time_zone: str | None
    now: datetime
    due_since: datetime | None
    is_ahead: bool = False


@frozen(kw_only=True)
class WaitingSchedule:
    """A schedule that waits for ``next_tick_at``; None: for nothing.

    ``time_zone`` is the name of its own time zone, if it has one. ``now`` is the database's clock.
    """

    schedule_id: int
    cron: Cron | None
    time_zone: str | None
    now: datetime
    next_tick_at: datetime | None


@frozen(kw_only=True)
class Chunk:
    """Members of a tick that were expanded at once: how many, and how many are now owed a send.

    The others were skipped. ``is_first``: nobody was expanded before.
    """

    tick_id: int
    schedule_id: int
    due_at: datetime
    is_first: bool
    triggers: int
    owed: int


async def open_tick(
    transaction: Transaction, *, schedule_id: int, opened_by: str | None = None
) -> int | None:
    """Open a tick for a whole schedule, now; returns its id, or None if there is no schedule."""
    found = await transaction.maybe(QUERIES.lock_schedule_to_tick, int, schedule_id=schedule_id)
    if found is None:
        return None
    return await _open(
        transaction, source="post-back", schedule_id=schedule_id, due_at=None, opened_by=opened_by
    )


async def has_room(transaction: Transaction, *, most: int) -> bool:
    """Whether a tick is open, and fewer than ``most`` sends of ticks are owed."""
    return await transaction.one(QUERIES.has_room, bool, most=most)


async def expand(transaction: Transaction, *, limit: int, after: int = 0) -> Chunk | None:
    """Owe a send to each of the next members of an open tick, at most ``limit`` of them.

    It is the first open tick after the tick ``after``, or else the first of all. None if no tick is
    open.
    """
    await planning.read_in_order(transaction)
    row = await transaction.maybe(QUERIES.expand_tick, _ExpandedRow, limit=limit, after=after)
    if row is None:
        return None
    owed = row.owed
    if owed:
        owed -= await transaction.execute(
            QUERIES.withdraw_sends, tick_id=row.tick_id, after=row.after, up_to=row.up_to
        )
    if row.doubted:
        await lost_sends.doubt(transaction, limit=len(row.doubted), only=row.doubted)
    return Chunk(
        tick_id=row.tick_id,
        schedule_id=row.schedule_id,
        due_at=row.due_at,
        is_first=row.is_first,
        triggers=row.triggers,
        owed=owed,
    )


async def stop(transaction: Transaction, *, tick_id: int, stopped_by: str) -> bool:
    """Stop a tick of a schedule for good; False if it was stopped before, or does not exist.

    What is left of it is skipped by ``skip_stopped`` and ``expand``.
    """
    found = await transaction.maybe(QUERIES.stop_tick, int, tick_id=tick_id, stopped_by=stopped_by)
    return found is not None


async def skip_stopped(transaction: Transaction, *, limit: int) -> int:
    """Skip up to ``limit`` owed sends of a tick that was stopped; returns how many."""
    return await transaction.execute(QUERIES.skip_stopped_sends, limit=limit)


async def find_stale(
    transaction: Transaction,
    *,
    default_time_zone: ZoneInfo,
    limit: int,
    only: Sequence[int] | None = None,
    after: int = 0,
) -> list[StaleSchedule]:
    """Lock and return up to ``limit`` schedules for which the built-in clock has work.

    With ``only``, all have an id in it. All ids are above ``after``, in order.
    """
    return await transaction.many(
        QUERIES.find_stale_schedules,
        _stale,
        version=RULE_VERSION,
        default_time_zone=default_time_zone.key,
        limit=limit,
        only=None if only is None else list(only),
        after=after,
    )


async def list_waiting(
    transaction: Transaction, *, after: int, limit: int
) -> list[WaitingSchedule]:
    """Up to ``limit`` schedules with ids above ``after`` whose next tick is in the future.

    And those with a time zone of their own that have no next tick.
    """
    return await transaction.many(
        QUERIES.list_waiting_schedules, _waiting, after=after, limit=limit
    )


async def doubt_next_ticks(transaction: Transaction, *, schedule_ids: Sequence[int]) -> None:
    """Let the next ticks of these schedules be computed again."""
    await transaction.execute(QUERIES.doubt_next_ticks, ids=list(schedule_ids))


async def last_moment(transaction: Transaction, *, schedule_id: int) -> datetime | None:
    """The latest moment that was ticked or missed while the clock was right, if there is one."""
    return await transaction.maybe(QUERIES.find_last_moment, datetime, schedule_id=schedule_id)


async def set_next_tick(
    transaction: Transaction,
    *,
    schedule_id: int,
    default_time_zone: ZoneInfo,
    next_tick_at: datetime | None,
) -> None:
    """Store when the built-in clock ticks next for a schedule; None: never."""
    await transaction.execute(
        QUERIES.set_next_tick,
        schedule_id=schedule_id,
        version=RULE_VERSION,
        default_time_zone=default_time_zone.key,
        next_tick_at=next_tick_at,
    )


async def clear_next_ticks(transaction: Transaction) -> None:
    """Forget all next ticks of the built-in clock, because the way of scheduling has changed."""
    await transaction.execute(QUERIES.clear_next_ticks)


async def open_clock_tick(transaction: Transaction, *, schedule_id: int, due_at: datetime) -> bool:
    """Open the tick of this moment for a schedule that is locked; False if it exists already.

    A tick that a wrong clock made for this moment, before the moment came, does not count.
    """
    for is_last_try in (False, True):
        tick_id = await _open(
            transaction,
            source="clock",
            schedule_id=schedule_id,
            due_at=due_at,
            opened_by=None,
            is_repeated=is_last_try,
        )
        if tick_id is not None:
            return True
        if is_last_try:
            break
        released = await transaction.one(
            QUERIES.release_moment, int, schedule_id=schedule_id, due_at=due_at
        )
        if not released:
            break
    return False


async def record_missed(
    transaction: Transaction, *, schedule_id: int, moments: Sequence[datetime]
) -> None:
    """Record that the built-in clock missed these moments."""
    await transaction.execute(
        QUERIES.record_missed_ticks, schedule_id=schedule_id, moments=list(moments)
    )


async def list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    schedule_id: int | None = None,
    source: str | None = None,
    state: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> Page[Tick]:
    """A page of the ticks of whole schedules that match the filters, newest first."""
    return await read_page(
        transaction,
        QUERIES.list_schedule_ticks,
        Tick,
        page,
        schedule_id=schedule_id,
        source=source,
        state=state,
        created_after=created_after,
        created_before=created_before,
    )


async def find(transaction: Transaction, *, tick_id: int) -> Tick | None:
    """The tick with this id, if there is one, of any source."""
    return await transaction.maybe(QUERIES.find_tick, Tick, id=tick_id, most=COUNTED_AT_ONCE)


async def count_unsent(
    transaction: Transaction, *, ids: Iterable[int], most: int = COUNTED_AT_ONCE
) -> list[UnsentCount]:
    """What was not sent of these ticks, the largest numbers of each tick first.

    Of each tick, ``most`` rows of the ledger are counted at most.
    """
    return await transaction.many(QUERIES.count_unsent, UnsentCount, ids=list(ids), most=most)


async def sum_days(
    transaction: Transaction, *, since: datetime, zone: ZoneInfo
) -> list[TicksOfOneDay]:
    """What the ticks have asked for on each day of this zone since a moment; each with a tick."""
    return await transaction.many(QUERIES.sum_days, TicksOfOneDay, since=since, time_zone=zone.key)


async def delete_old(transaction: Transaction, *, months_kept: int, limit: int) -> int:
    """Delete up to ``limit`` ticks of months that the ledger no longer keeps; returns how many."""
    return await transaction.execute(QUERIES.delete_old_ticks, months_kept=months_kept, limit=limit)


async def _open(
    transaction: Transaction,
    *,
    source: Source,
    schedule_id: int,
    due_at: datetime | None,
    opened_by: str | None,
    is_repeated: bool = False,
) -> int | None:
    tick_id = await transaction.maybe(
        QUERIES.open_tick,
        int,
        source=source,
        schedule_id=schedule_id,
        due_at=due_at,
        opened_by=opened_by,
        is_repeated=is_repeated,
    )
    if tick_id is not None:
        await transaction.execute(QUERIES.watch_tick, tick_id=tick_id, schedule_id=schedule_id)
    return tick_id


@frozen(kw_only=True)
class _ExpandedRow:
    """A chunk before some of its sends are withdrawn: the members after one and up to another.

    ``doubted`` are the ids of its sends if the Message Sender has to be asked about them first.
    """

    tick_id: int
    schedule_id: int
    due_at: datetime
    is_first: bool
    after: UUID
    up_to: UUID | None
    triggers: int
    owed: int
    doubted: list[UUID]


def _stale(
    *,
    schedule_id: int,
    time_zone: str | None,
    now: datetime,
    next_tick_at: datetime | None,
    is_set: bool,
    is_ahead: bool | None,
    **fields: str,
) -> StaleSchedule:
    return StaleSchedule(
        schedule_id=schedule_id,
        cron=Cron.read(**fields),
        time_zone=time_zone,
        now=now,
        due_since=next_tick_at if is_set else None,
        is_ahead=bool(is_set and is_ahead),
    )


def _waiting(
    *,
    schedule_id: int,
    time_zone: str | None,
    now: datetime,
    next_tick_at: datetime | None,
    **fields: str,
) -> WaitingSchedule:
    return WaitingSchedule(
        schedule_id=schedule_id,
        cron=Cron.read(**fields),
        time_zone=time_zone,
        now=now,
        next_tick_at=next_tick_at,
    )
