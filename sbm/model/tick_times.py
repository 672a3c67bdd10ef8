"""When a schedule ticked last, and when it should tick next, in each scheduling mode."""

from __future__ import annotations

from datetime import datetime, timedelta
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
        """The moment whose tick is missing for longer than the grace; None: none is."""
        latest = self.now - by.grace
        if by.mode == "builtin":
            due = self.next_tick_at
            return due if due is not None and due < latest else None
        cron = self._cron(by)
        if cron is None or self.told_at is None:
            return None
        moment = cron.latest_between(self.told_at, latest, by.time_zone)
        if moment is None:
            return None
        came = self.last_opened_at is not None and self.last_opened_at >= moment - AHEAD
        return None if came else moment

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

    def calls_of_day(self, time_zone: ZoneInfo) -> int:
        """How many calls were due in the last day."""
        cron = cron_of(self.told)
        if cron is None:
            return 0
        moments, until = 0, self.now
        while True:
            moment = cron.latest_between(self.now - DAY, until, time_zone)
            if moment is None:
                return self.schedules * moments
            moments, until = moments + 1, moment - timedelta(seconds=1)


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


def cron_of(definition: str) -> Cron | None:
    """The cron in a definition of the Scheduler; None if it cannot be read."""
    try:
        return Cron.from_definition(definition)
    except CronError:
        return None
