"""Ticks: the built-in clock makes them, and the expansion owes a send to each member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.logger import Logger

from sbm.model.cron import Cron
from sbm.model.durations import TickGrace
from sbm.model.time_zones import TimeZones
from sbm.operations.due_moments import MOST_MISSED, latest_first
from sbm.pipeline.database_clock import SETTLING_SECONDS, ClockReading, DatabaseClock
from sbm.pipeline.dividing import whole_or_divided
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.store import ticks, unreadable
from sbm.store.postgres.errors import may_be_of_a_row, one_line
from sbm.store.postgres.gated import Transactions
from sbm.store.postgres.transaction import Transaction

CHUNK = 2000
SCHEDULES_PER_PASS = 100

# A tick of a million is expanded as fast as it is sent, not faster: many waiting sends make the
# table large, and later sends slow. This number is about a second of work for a fast daemon, and to
# expand a chunk takes it some thirty milliseconds.
MOST_WAITING = 4_000

# How often the clock checks whether a schedule waits for a moment later than its next one.
REVIEW_SECONDS = 20.0

_SECOND = timedelta(seconds=1)


@define(eq=False, slots=False, kw_only=True)
class Expansion:
    """Owes a send to each member of the open ticks: a chunk at a time, one tick after the other.

    A chunk that cannot be expanded is divided until the member that makes it fail is alone. The
    trigger of that member ends as failed. The owed sends of a tick that a person has stopped are
    skipped first: the next tick of its schedule waits for that.
    """

    _database: Transactions
    _owed: Callable[[], None]
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._last_turn = 0
        self._skipped = 0

    async def one_pass(self) -> int:
        """Expand one chunk, if there is room for it; ``owed`` is called when a send is owed."""
        self._skipped = 0
        chunk = await self._expand_what_can_be()
        if chunk is None:
            return self._skipped
        self._last_turn = chunk.tick_id
        if chunk.is_first:
            self._log.info(
                "tick {id} of schedule {schedule} opens, due at {due_at}",
                id=chunk.tick_id,
                schedule=chunk.schedule_id,
                due_at=chunk.due_at.isoformat(" ", "seconds"),
            )
        if chunk.owed:
            self._owed()
        # A tick that ends with an empty chunk was work, too: another tick may come after it.
        return max(1, chunk.triggers)

    async def _expand_what_can_be(self) -> ticks.Chunk | None:
        """Expand a chunk; if it cannot be expanded, a smaller one, and in the end one member."""
        limit = CHUNK
        while limit > 1:
            try:
                return await self._database.transact(self._expand, limit)
            except Exception as error:
                if not may_be_of_a_row(error):
                    raise
                self._log.warn(
                    "{count} members of a tick cannot be expanded together: {error}",
                    count=limit,
                    error=one_line(error),
                )
            limit //= 2
        member = await self._database.transact(unreadable.find_next_member, after=self._last_turn)
        if member is None:
            return await self._database.transact(self._expand, 1)
        try:
            return await self._database.transact(self._expand_alone, member)
        except Exception as error:
            if not may_be_of_a_row(error):
                raise
            self._last_turn = member.tick_id  # the next pass begins with another tick, in any case
            await self._fail(member, unreadable.reason(error))
        return None  # then a rest follows: if all members fail, an operator has time to stop it

    async def _fail(self, member: unreadable.NextMember, reason: str) -> None:
        await self._database.transact(unreadable.fail_member, member=member, reason=reason)
        self._log.error(
            "subscription {id} could not be owed the send of tick {tick}: {reason}",
            id=member.subscription_id,
            tick=member.tick_id,
            reason=reason,
        )

    async def _expand(self, transaction: Transaction, limit: int) -> ticks.Chunk | None:
        self._skipped = await ticks.skip_stopped(transaction, limit=CHUNK)
        if self._skipped or not await ticks.has_room(transaction, most=MOST_WAITING):
            return None
        return await ticks.expand(transaction, limit=limit, after=self._last_turn)

    async def _expand_alone(
        self, transaction: Transaction, member: unreadable.NextMember
    ) -> ticks.Chunk | None:
        """Expand only this member of this tick, if it is still the next one."""
        if not await unreadable.hold_tick(transaction, member=member):
            return None
        return await ticks.expand(transaction, limit=1, after=member.tick_id - 1)


@define(eq=False, slots=False, kw_only=True)
class Clock:
    """Makes the ticks that the cron fields ask for, if no outside Scheduler does.

    Only the database's clock counts. Each schedule stores its next moment and the rule from which
    the moment was computed, so several daemons agree, and a changed rule is noticed. A moment that
    passed longer than ``grace`` ago is not made up for: the message would come at the wrong time.

    After the database's clock has jumped, no tick is made for some seconds, because the clock may
    jump back. A moment that was computed while it was wrong is computed again.
    """

    _database: Transactions
    _mode: SchedulingMode
    _time_zones: TimeZones
    _grace: TickGrace
    _ticked: Callable[[], None]
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock)
    _reviewed_at: float = field(default=float("-inf"), init=False)

    async def one_pass(self) -> int:
        """Tick for the schedules that are due; ``ticked`` is called when there was one."""
        # Moments that were stored before another part made the ticks have to be forgotten first.
        await self._mode.one_pass()
        now = self._clock.uptime()
        if now >= self._reviewed_at + REVIEW_SECONDS:
            await self._review()
            self._reviewed_at = now
        parts = await whole_or_divided(
            "schedules",
            self._work_out_only,
            due=partial(
                self._database.transact,
                unreadable.list_stale_schedules,
                default_time_zone=self._time_zones.default,
                limit=SCHEDULES_PER_PASS,
            ),
            part=self._work_out_only,
            alone=self._stop,
        )
        if any(ticked for _, ticked in parts):
            self._ticked()
        return sum(done for done, _ in parts)

    async def _work_out_only(self, only: Sequence[int] | None = None) -> tuple[int, int]:
        return await self._clock.transact(self._database, partial(self._work_out, only=only))

    async def _stop(self, schedule_id: int, error: Exception) -> None:
        """A schedule that cannot be read is never due until it is changed."""
        await self._database.transact(
            ticks.set_next_tick,
            schedule_id=schedule_id,
            default_time_zone=self._time_zones.default,
            next_tick_at=None,
        )
        self._log.error(
            "schedule {id} is not due any more until it is changed: {reason}",
            id=schedule_id,
            reason=unreadable.reason(error),
        )

    async def _review(self) -> None:
        """Look for schedules that wait for a moment later than their next one."""
        last, count = 0, SCHEDULES_PER_PASS
        while count == SCHEDULES_PER_PASS:
            last, count = await self._clock.transact(
                self._database, partial(self._doubt, after=last)
            )

    async def _doubt(
        self, transaction: Transaction, reading: ClockReading, *, after: int
    ) -> tuple[int, int]:
        if not reading.is_settled:
            return after, 0
        waiting = await ticks.list_waiting(transaction, after=after, limit=SCHEDULES_PER_PASS)
        beyond, slices = [], transaction.slices()
        for schedule in waiting:
            time_zone = self._time_zones.of(schedule.time_zone)
            if schedule.cron is not None and time_zone is not None:
                moment = schedule.cron.next_after(schedule.now, time_zone)
                stored = schedule.next_tick_at
                if moment is not None and (stored is None or moment < stored):
                    beyond.append(schedule.schedule_id)
            if slices.is_over:
                await slices.next_turn()
        if beyond:
            await ticks.doubt_next_ticks(transaction, schedule_ids=beyond)
        return (waiting[-1].schedule_id if waiting else after), len(waiting)

    async def _work_out(
        self, transaction: Transaction, reading: ClockReading, *, only: Sequence[int] | None
    ) -> tuple[int, int]:
        if not reading.is_settled:
            return 0, 0
        stale = await ticks.find_stale(
            transaction,
            default_time_zone=self._time_zones.default,
            limit=SCHEDULES_PER_PASS,
            only=only,
        )
        ticked = 0
        for schedule in stale:
            next_tick_at = None
            time_zone = self._time_zones.of(schedule.time_zone)
            if schedule.cron is None:
                self._log.error("schedule {id} has no valid cron", id=schedule.schedule_id)
            elif time_zone is None:
                self._log.error(
                    "schedule {id} is not due any more: this machine does not know its time zone,"
                    " {time_zone}",
                    id=schedule.schedule_id,
                    time_zone=schedule.time_zone,
                )
            else:
                ticked += await self._tick(transaction, schedule, schedule.cron, time_zone)
                next_tick_at = schedule.cron.next_after(schedule.now, time_zone)
            await ticks.set_next_tick(
                transaction,
                schedule_id=schedule.schedule_id,
                default_time_zone=self._time_zones.default,
                next_tick_at=next_tick_at,
            )
        return len(stale), ticked

    async def _tick(
        self,
        transaction: Transaction,
        schedule: ticks.StaleSchedule,
        cron: Cron,
        time_zone: ZoneInfo,
    ) -> int:
        """Open a tick for the latest moment that came due, if any; record the others as missed."""
        missed = await self._came_due(transaction, schedule, cron, time_zone)
        is_in_time = bool(missed) and schedule.now - missed[0] <= self._grace
        ticked = False
        if is_in_time:
            ticked = await ticks.open_clock_tick(
                transaction, schedule_id=schedule.schedule_id, due_at=missed.pop(0)
            )
        if missed:
            self._log.warn(
                "schedule {id}: {count} ticks were missed, of {first} to {last}{others}",
                id=schedule.schedule_id,
                count=len(missed),
                first=missed[-1].isoformat(),
                last=missed[0].isoformat(),
                others=", and earlier ones" if len(missed) >= MOST_MISSED else "",
            )
            await ticks.record_missed(transaction, schedule_id=schedule.schedule_id, moments=missed)
        return ticked

    async def _came_due(
        self,
        transaction: Transaction,
        schedule: ticks.StaleSchedule,
        cron: Cron,
        time_zone: ZoneInfo,
    ) -> list[datetime]:
        """The moments that came due since the next moment was stored, the latest first."""
        if schedule.due_since is None:
            return []
        just_before = schedule.due_since - _SECOND
        if schedule.is_ahead:
            # The stored moment is wrong: begin at the last moment that was ticked or missed.
            last = await ticks.last_moment(transaction, schedule_id=schedule.schedule_id)
            # If there is none: begin when the clock was set right, or a little earlier.
            just_before = last or schedule.now - timedelta(seconds=2 * SETTLING_SECONDS)
            self._log.warn(
                "schedule {id}: its next tick was computed while the database's clock was wrong,"
                " and is computed again",
                id=schedule.schedule_id,
            )
        return await latest_first(
            transaction, cron, after=just_before, until=schedule.now, time_zone=time_zone
        )
