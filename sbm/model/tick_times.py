"""When a schedule ticked last, and when it should tick next, in each scheduling mode."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import Cron, CronError
from sbm.model.durations import TickGrace
from sbm.model.scheduler_call import Scheduling
from sbm.model.scheduler_callback import AHEAD

DAY = timedelta(days=1)


@frozen(kw_only=True)
class Expectations:
    """What says when ticks are due: the mode, the time zone of its crons, and the grace."""

    mode: Scheduling
    time_zone: ZoneInfo
    grace: TickGrace


@frozen(kw_only=True)
class ScheduleTimes:
    """A schedule; ``told`` is the cron with which the Scheduler calls for it since ``told_at``.

    ``next_tick_at`` is that of the built-in clock. The last tick that was opened was due at
    ``last_tick_at``. ``now`` is the database's clock.
    """

    schedule_id: int
    next_tick_at: datetime | None
    last_tick_at: datetime | None
    last_opened_at: datetime | None
    told: str | None
    told_at: datetime | None
    now: datetime

    def expected(self, by: Expectations) -> datetime | None:
        """The next tick; None: there is none, or each subscription has its own calls."""
        if by.mode == "builtin":
            return self.next_tick_at
        cron = self._cron(by)
        return None if cron is None else cron.next_after(self.now, by.time_zone)

    def overdue_since(self, by: Expectations) -> datetime | None:
        """The first moment whose tick is missing for longer than the grace; None: none is."""
        latest = self.now - by.grace
        if by.mode == "builtin":
            due = self.next_tick_at
            return due if due is not None and due < latest else None
        cron = self._cron(by)
        if cron is None or self.told_at is None:
            return None
        since = self.told_at
        if self.last_opened_at is not None:
            since = max(since, self.last_opened_at + AHEAD)
        first = cron.next_after(since, by.time_zone)
        return first if first is not None and first <= latest else None

    def is_watched(self, by: Expectations) -> bool:
        """Whether it is known when its ticks are due, in a mode with ticks."""
        return by.mode == "builtin" or self._cron(by) is not None

    def _cron(self, by: Expectations) -> Cron | None:
        if by.mode != "schedule" or self.told is None:
            return None
        return cron_of(self.told)


@frozen(kw_only=True)
class CallCron:
    """A cron with which the Scheduler has called for ``schedules`` subscriptions for a day."""

    told: str
    schedules: int
    now: datetime

    def moments_of_day(self, time_zone: ZoneInfo) -> Iterator[datetime]:
        """The moments of the last day at which calls were due, the latest first."""
        cron = cron_of(self.told)
        until: datetime | None = self.now
        while cron is not None and until is not None:
            moment = cron.latest_between(self.now - DAY, until, time_zone)
            if moment is not None:
                yield moment
            until = moment and moment - timedelta(seconds=1)


@frozen(kw_only=True)
class TicksOfDay:
    """The ticks of schedules in the last day: ``late`` ones are among those that were opened."""

    opened: int
    late: int
    missed: int


@frozen(kw_only=True)
class CallsOfDay:
    """The calls for single subscriptions that were due in the last day, and those that came."""

    expected: int
    came: int

    @property
    def are_too_few(self) -> bool:
        """Whether fewer than half of them came."""
        return 2 * self.came < self.expected


@lru_cache(maxsize=1024)
def cron_of(definition: str) -> Cron | None:
    """The cron in a definition of the Scheduler; None if it cannot be read."""
    try:
        return Cron.from_definition(definition)
    except CronError:
        return None
