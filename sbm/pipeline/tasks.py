"""The work that clients ask for and do not wait for, one task at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sbm.model.cron import Cron
from sbm.model.estimate import days_ahead, is_due_on
from sbm.model.metrics import of_week
from sbm.model.task import Kind, Task
from sbm.pipeline.loop import Bell, Loop
from sbm.store import behind_subscriptions, estimates, failed_tasks, tasks
from sbm.store.database import Database
from sbm.store.errors import DatabaseUnavailable
from sbm.telemetry import Tally

REST_SECONDS = 5.0
# Longer than any one step: with all that a lost database may cost it ends within three minutes.
LEASE = timedelta(minutes=5)

REQUEUE_BATCH = 500
SEARCH_BATCH = 2000
RUNS_BATCH = 1000
# Of a schedule that is due every minute, this is a month.
MAX_RUNS = 50_000
# Working out a run takes up to 0.1 ms: so many hold the reactor for a few milliseconds.
RUNS_AT_A_TIME = 25


class _Interrupted(Exception):
    """The daemon stops, or the task is no longer its own."""


@define(eq=False, slots=False)
class Tasks(Service):
    """Does the tasks that wait, and leaves unfinished what it is stopped in.

    Every task can be done again from its start. ``owed`` is called when somebody is owed a send;
    ``tally`` is told a week that was estimated.
    """

    _reactor: Any
    _database: Database
    _time_zone: ZoneInfo
    _owner: UUID
    _owed: Callable[[], None]
    _bell: Bell
    _tally: Tally = field(factory=Tally)
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop("tasks", self.one_pass, REST_SECONDS, self._bell)
        self._work: Mapping[Kind, Callable[[Task], Awaitable[None]]] = {
            "requeue-failed-tasks": self._requeue,
            "estimate-sends": self._estimate,
            "find-behind-subscriptions": self._find_behind,
        }

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None] | None:
        Service.stopService(self)
        return self._loop.stopService()

    async def one_pass(self) -> int:
        """Do one task, if one waits; what fails for good is put down with its reason."""
        task = await self._database.transact(
            tasks.begin, owner=self._owner, kinds=self._work, lease=LEASE
        )
        if task is None:
            return 0
        reason = ""
        try:
            await self._work[task.kind](task)
        except _Interrupted:
            await self._database.transact(tasks.release, task_id=task.id, owner=self._owner)
            return 0
        except DatabaseUnavailable:
            raise  # its lease will end, and somebody begins it anew
        except Exception as error:
            self._log.failure("task {id} ({kind}) failed", id=task.id, kind=task.kind)
            reason = f"{type(error).__name__}: {error}"
        await self._database.transact(
            tasks.finish, task_id=task.id, owner=self._owner, reason=reason
        )
        self._log.info("task {id} ({kind}) is finished", id=task.id, kind=task.kind)
        return 1

    async def _keep(self, task: Task) -> None:
        """Go on, unless the daemon stops or somebody else has taken the task."""
        if not self.running or not await self._database.transact(
            tasks.renew, task_id=task.id, owner=self._owner, lease=LEASE
        ):
            raise _Interrupted

    async def _requeue(self, task: Task) -> None:
        taken, after = REQUEUE_BATCH, 0
        while taken == REQUEUE_BATCH:
            await self._keep(task)
            done = await self._database.transact(
                failed_tasks.requeue,
                up_to=task.up_to or 0,
                limit=REQUEUE_BATCH,
                wanted=task.wanted,
                after=after,
            )
            taken, after = done.taken, done.last_id
            self._owed()

    async def _estimate(self, task: Task) -> None:
        now, crons = await self._database.transact(estimates.find_crons)
        for day in [] if now is None else days_ahead(now, self._time_zone):
            await self._keep(task)
            due = []
            for schedule_id, cron in crons.items():
                if is_due_on(cron, day, self._time_zone):
                    due.append(schedule_id)
                await self._breathe()
            await self._database.transact(estimates.estimate, send_date=day, schedules=due)
        today, week = await self._database.transact(estimates.read_week, zone=self._time_zone)
        for name, value in of_week(week or {}, today).items():
            self._tally.tell(name, value)

    async def _find_behind(self, task: Task) -> None:
        _, crons = await self._database.transact(estimates.find_crons)
        period = await self._database.transact(behind_subscriptions.begin_search)
        if period is not None:
            for schedule_id, cron in crons.items():
                await self._keep(task)
                await self._add_runs(schedule_id, await self._runs(task, cron, *period))
            await self._database.transact(behind_subscriptions.end_runs)
        after: UUID | None = behind_subscriptions.FIRST
        while after is not None:
            await self._keep(task)
            after = await self._database.transact(
                behind_subscriptions.search, after=after, limit=SEARCH_BATCH
            )

    async def _runs(
        self, task: Task, cron: Cron, since: datetime, until: datetime
    ) -> list[datetime]:
        """When the schedule was due, in order: the latest MAX_RUNS of them."""
        runs: list[datetime] = []
        while len(runs) < MAX_RUNS:
            run = cron.latest_between(since, until, self._time_zone)
            if run is None:
                break
            runs.append(run)
            until = run - timedelta(microseconds=1)
            if len(runs) % RUNS_AT_A_TIME == 0:
                await self._breathe()
            if len(runs) % RUNS_BATCH == 0:
                await self._keep(task)
        return runs[::-1]

    async def _add_runs(self, schedule_id: int, runs: list[datetime]) -> None:
        for start in range(0, len(runs), RUNS_BATCH):
            await self._database.transact(
                behind_subscriptions.add_runs,
                schedule_id=schedule_id,
                first=start + 1,
                runs=runs[start : start + RUNS_BATCH],
            )

    async def _breathe(self) -> None:
        """Let everything else have its turn."""
        await deferLater(self._reactor, 0)
