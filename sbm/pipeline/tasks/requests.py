"""The work that clients ask for and do not wait for, one task at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sbm.model.estimate import days_ahead, is_due_on
from sbm.model.ids import BEFORE_ALL
from sbm.model.metrics import of_week
from sbm.model.task import Task, TaskKind
from sbm.operations import schedule_runs
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.tasks.runner import TaskFailed, TaskRunner
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup
from sbm.store import behind_subscriptions, estimates, failed_tasks
from sbm.store.postgres.database import Database
from sbm.telemetry import Tally

REST_SECONDS = 5.0
REQUEUE_BATCH = 500

# So often, and after so long, it is looked again for what was locked.
ROUNDS = 3
LOCKED_SECONDS = 1.0
SEARCH_BATCH = 2000


@define(eq=False, slots=False, kw_only=True)
class TaskRequests(Service):
    """Does the tasks that wait, and leaves unfinished what it is stopped in.

    Every task can be done again from its start. ``owed`` is called when somebody is owed a send;
    ``tally`` is told a week that was estimated.
    """

    _reactor: Any
    _database: Database
    _time_zone: ZoneInfo
    _owner: UUID
    _owed: Callable[[], None]
    _wakeup: Wakeup
    _tally: Tally = field(factory=Tally)
    _clock: DatabaseClock = field(factory=DatabaseClock)

    def __attrs_post_init__(self) -> None:
        self._runner = TaskRunner(
            database=self._database,
            owner=self._owner,
            is_open=lambda: bool(self.running),
            clock=self._clock,
        )
        self._loop = Loop(
            reactor=self._reactor,
            name="tasks",
            one_pass=self.one_pass,
            rest=REST_SECONDS,
            wakeup=self._wakeup,
        )
        self._work: Mapping[TaskKind, Callable[[Task], Awaitable[None]]] = {
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
        """Do one task, if one waits."""
        return await self._runner.one_pass(self._work)

    async def _keep(self, task: Task) -> None:
        """Go on, unless the daemon stops or somebody else has taken the task."""
        await self._runner.keep(task)

    async def _requeue(self, task: Task) -> None:
        """What somebody else has locked is looked at again at the end, and left if it stays so."""
        for _ in range(ROUNDS):
            locked = await self._requeue_once(task)
            if not locked:
                return
            await deferLater(self._reactor, LOCKED_SECONDS)
        raise TaskFailed(
            f"{locked} failed tasks are left: somebody else has locked their subscriptions"
        )

    async def _requeue_once(self, task: Task) -> int:
        seen, after, locked = REQUEUE_BATCH, 0, 0
        while seen == REQUEUE_BATCH:
            await self._keep(task)
            done = await self._database.transact(
                failed_tasks.requeue,
                up_to=task.up_to or 0,
                limit=REQUEUE_BATCH,
                wanted=task.wanted,
                after=after,
            )
            seen, after, locked = done.seen, done.last_id, locked + done.locked
            self._owed()
        return locked

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
        keep = partial(self._keep, task)
        runs = await schedule_runs.prepare(self._database, time_zone=self._time_zone, keep=keep)
        after: UUID | None = BEFORE_ALL
        while after is not None:
            await self._keep(task)
            after = await self._database.transact(
                behind_subscriptions.search, search_id=runs.id, after=after, limit=SEARCH_BATCH
            )
        await schedule_runs.forget(self._database, runs_id=runs.id, keep=keep)

    async def _breathe(self) -> None:
        """Let everything else have its turn."""
        await deferLater(self._reactor, 0)
