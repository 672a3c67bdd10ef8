"""What there is to know about today: the ticks, the week, the intake, and who gets nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.intake import IntakeCount, period
from sbm.model.open_tick import OpenTick
from sbm.model.paging import PageRequest
from sbm.model.silence import SilentCounts
from sbm.model.tick import Tick, UnsentCount
from sbm.model.tick_times import Expectations
from sbm.operations import status
from sbm.operations.status import Status
from sbm.operations.tick_times import ScheduleState
from sbm.store import (
    clock,
    estimates,
    intake,
    ledger_balance,
    messagesets,
    schedules,
    silent_subscriptions,
    ticks,
)
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedules import ToldSchedule

# So many ticks of today are told; the others are in the list of ticks.
MOST_TICKS = 20

# So many rows of each tick that were not sent are counted: the page is read again and again.
MOST_UNSENT = 10_000

WEEK = 7


@frozen(kw_only=True)
class TickToday:
    """A tick of today, or one that is still open: how far it is, and what was not sent.

    ``progress`` is None if nothing of it is left.
    """

    tick: Tick | OpenTick
    progress: OpenTick | None
    unsent: Sequence[UnsentCount]

    @property
    def is_counted_in_part(self) -> bool:
        """Whether there are so many that got nothing that only a part of them was counted."""
        return any(one.is_part for one in self.unsent)


@frozen(kw_only=True)
class DayOfWeek:
    """How many people a day was estimated to reach, None: it was not; what was asked for; sent."""

    day: date
    estimated: int | None
    asked_for: int
    sent: int


@frozen(kw_only=True)
class DayReport:
    """All of it, as it was at ``now``.

    ``sets`` are the short names of the message sets of each schedule. ``has_more_ticks``: there
    were more than MOST_TICKS. ``unbalanced`` is how many ticks were found unbalanced.
    """

    now: datetime
    status: Status
    ticks: Sequence[TickToday]
    has_more_ticks: bool
    schedules: Mapping[int, ToldSchedule]
    sets: Mapping[int, Sequence[str]]
    week: Sequence[DayOfWeek]
    intake: Sequence[IntakeCount]
    silent: SilentCounts | None
    unbalanced: int
    midnight: datetime

    def next_of_today(self) -> list[ScheduleState]:
        """The schedules that tick once more today, the next one first."""
        end = self.midnight + timedelta(days=1)
        return [one for one in self._coming() if one.next is not None and one.next < end]

    def next_of_all(self) -> ScheduleState | None:
        """The schedule that ticks next, whenever that is; None: that is not known of any."""
        return next(iter(self._coming()), None)

    def overdue(self) -> list[ScheduleState]:
        """The schedules whose ticks are missing."""
        return [one for one in self.status.schedules if one.overdue_since is not None]

    def _coming(self) -> list[ScheduleState]:
        def moment(one: ScheduleState) -> tuple[datetime, int]:
            assert one.next is not None
            return one.next, one.schedule_id

        return sorted((one for one in self.status.schedules if one.next is not None), key=moment)


async def read(transaction: Transaction, *, by: Expectations, zone: ZoneInfo) -> DayReport:
    """Read it; the day is that of this zone. It takes a few passes over the live sends."""
    now = await clock.now(transaction)
    today = now.astimezone(zone).date()
    midnight = datetime.combine(today, time(), zone)
    of_all = await status.read(transaction, by)
    found = await ticks.list_page(
        transaction, page=PageRequest(limit=MOST_TICKS, count=0), created_after=midnight
    )
    sets = defaultdict(list)
    for one in await messagesets.list_all(transaction):
        sets[one.default_schedule_id].append(one.short_name)
    return DayReport(
        now=now,
        status=of_all,
        ticks=await _ticks(transaction, found.rows, of_all.ticks),
        has_more_ticks=found.more,
        schedules={one.id: one for one in await schedules.list_told(transaction)},
        sets=sets,
        week=await _week(transaction, today, zone),
        intake=await intake.count(transaction, period=period(midnight, None, now=now)),
        silent=await silent_subscriptions.find_counts(transaction),
        unbalanced=(await ledger_balance.count_unbalanced(transaction))[0],
        midnight=midnight,
    )


async def _ticks(
    transaction: Transaction, of_today: Sequence[Tick], still_open: Sequence[OpenTick]
) -> list[TickToday]:
    """Those of today, and older ones that are open, the newest first."""
    progress = {one.id: one for one in still_open}
    told: dict[int, Tick | OpenTick] = {one.id: one for one in of_today}
    for one in still_open[-MOST_TICKS:]:
        told.setdefault(one.id, one)
    unsent = defaultdict(list)
    for count in await ticks.count_unsent(transaction, ids=told, most=MOST_UNSENT):
        unsent[count.tick_id].append(count)
    return [
        TickToday(tick=told[tick_id], progress=progress.get(tick_id), unsent=unsent[tick_id])
        for tick_id in sorted(told, reverse=True)
    ]


async def _week(transaction: Transaction, today: date, zone: ZoneInfo) -> list[DayOfWeek]:
    """The days of this week, from Monday on."""
    monday = today - timedelta(days=today.weekday())
    days = [monday + timedelta(days=ahead) for ahead in range(WEEK)]
    estimated = await estimates.sum_days(transaction, days=days)
    since = datetime.combine(monday, time(), zone)
    asked = {one.day: one for one in await ticks.sum_days(transaction, since=since, zone=zone)}
    return [
        DayOfWeek(
            day=day,
            estimated=estimated.get(day),
            asked_for=asked[day].asked_for if day in asked else 0,
            sent=asked[day].sent if day in asked else 0,
        )
        for day in days
    ]
