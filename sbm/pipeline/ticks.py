"""Ticks: the built-in clock makes them, and their members are owed their sends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.logger import Logger

from sbm.model.cron import Cron
from sbm.store import ticks
from sbm.store.database import Database, Transaction

CHUNK = 1000
SCHEDULES_PER_PASS = 100

# A moment that passed longer ago is not made up for: the message would come at the wrong time.
GRACE = timedelta(hours=1)


@define(eq=False, slots=False)
class Expansion:
    """Owes their sends to the members of open ticks, a chunk at a time."""

    _database: Database
    _owed: Callable[[], None]

    async def one_pass(self) -> int:
        """Expand one chunk; ``owed`` is called when somebody is owed a send."""
        members = await self._database.transact(ticks.expand, limit=CHUNK)
        if members:
            self._owed()
        # A tick that ends with an empty chunk was work, too: another may stand behind it.
        return 0 if members is None else max(1, members)


@define(eq=False, slots=False)
class Clock:
    """Makes the ticks that the cron fields ask for, where no outside Scheduler does.

    Only the database's clock counts. Each schedule carries its next moment and the rule that it
    was worked out by, so several clocks agree, and a changed rule is noticed.
    """

    _database: Database
    _time_zone: ZoneInfo
    _ticked: Callable[[], None]
    _log: Logger = field(factory=Logger)

    async def one_pass(self) -> int:
        """Tick for the schedules that are due; ``ticked`` is called when there was one."""
        wound, ticked = await self._database.transact(self._wind)
        if ticked:
            self._ticked()
        return wound

    async def _wind(self, transaction: Transaction) -> tuple[int, int]:
        unwound = await ticks.find_unwound(
            transaction, time_zone=self._time_zone, limit=SCHEDULES_PER_PASS
        )
        ticked = 0
        for schedule in unwound:
            next_tick_at = None
            if schedule.cron is None:
                self._log.error("schedule {id} has no valid cron", id=schedule.schedule_id)
            else:
                ticked += await self._tick(transaction, schedule, schedule.cron)
                next_tick_at = schedule.cron.next_after(schedule.now, self._time_zone)
            await ticks.wind(
                transaction,
                schedule_id=schedule.schedule_id,
                time_zone=self._time_zone,
                next_tick_at=next_tick_at,
            )
        return len(unwound), ticked

    async def _tick(self, transaction: Transaction, schedule: ticks.Unwound, cron: Cron) -> int:
        """Open a tick for the latest moment that came due, if one did."""
        if schedule.due_since is None:
            return 0
        just_before = schedule.due_since - timedelta(seconds=1)
        due_at = cron.latest_between(just_before, schedule.now, self._time_zone)
        if due_at is None:
            return 0
        missed = schedule.now - due_at > GRACE
        if missed:
            self._log.warn(
                "schedule {id}: the tick of {due_at} was missed",
                id=schedule.schedule_id,
                due_at=due_at.isoformat(),
            )
        return await ticks.open_clock_tick(
            transaction, schedule_id=schedule.schedule_id, due_at=due_at, missed=missed
        )
