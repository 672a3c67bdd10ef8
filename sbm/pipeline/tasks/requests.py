"""Does the tasks: work that clients ask for and do not wait for, one task at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID

from attrs import define, field
from twisted.internet.task import deferLater

from sbm.model.estimate import days_ahead, is_due_on
from sbm.model.ids import BEFORE_ALL
from sbm.model.metrics import of_week
from sbm.model.task import Task, TaskKind
from sbm.model.time_zones import TimeZones
from sbm.operations import schedule_runs, silent
from sbm.pipeline.tasks.runner import TaskFailed, TaskRunner, TaskWork
from sbm.store import behind_subscriptions, estimates, failed_tasks
from sbm.telemetry import PendingMetrics

REQUEUE_BATCH = 500

# How often failed tasks that were locked are tried again, and after which pause.
ROUNDS = 3
LOCKED_SECONDS = 1.0
SEARCH_BATCH = 2000


@define(eq=False, slots=False, kw_only=True)
class TaskRequests(TaskRunner):
    """Does the tasks that wait. If it is stopped, it leaves its task unfinished.

    Every task can be done again from its start. ``owed`` is called when a send is owed;
    ``pending_metrics`` gets the values of a week that was estimated.
    """

    loop_name = "tasks"

    _time_zones: TimeZones
    _owed: Callable[[], None]
    _pending_metrics: PendingMetrics = field(factory=PendingMetrics)

    @property
    def work(self) -> Mapping[TaskKind, TaskWork]:
        return {
            "requeue-failed-tasks": self._requeue,
            "estimate-sends": self._estimate,
            "find-behind-subscriptions": self._find_behind,
            "find-silent-subscriptions": self._find_silent,
        }

    async def _requeue(self, task: Task) -> None:
        """Requeue; failed tasks that are locked are tried again at the end, and left if locked."""
        for _ in range(ROUNDS):
            locked = await self._requeue_once(task)
            if not locked:
                return
            await deferLater(self._reactor, LOCKED_SECONDS)
        raise TaskFailed(
            f"{locked} failed tasks are left: another transaction has locked their subscriptions"
        )

    async def _requeue_once(self, task: Task) -> int:
        seen, after, locked = REQUEUE_BATCH, 0, 0
        while seen == REQUEUE_BATCH:
            await self.keep(task)
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
        zones = self._time_zones
        now, crons = await self._database.transact(estimates.find_crons, zones=zones)
        for day in [] if now is None else days_ahead(now, zones.default):
            await self.keep(task)
            due = []
            for schedule_id, cron in crons.items():
                if is_due_on(cron, day):
                    due.append(schedule_id)
                await self._breathe()
            await self._database.transact(estimates.estimate, send_date=day, schedules=due)
        today, week = await self._database.transact(estimates.read_week, zone=zones.default)
        for name, value in of_week(week or {}, today).items():
            self._pending_metrics.add(name, value)

    async def _find_behind(self, task: Task) -> None:
        keep = partial(self.keep, task)
        runs = await schedule_runs.prepare(self._database, zones=self._time_zones, keep=keep)
        after: UUID | None = BEFORE_ALL
        while after is not None:
            await self.keep(task)
            after = await self._database.transact(
                behind_subscriptions.search, search_id=runs.id, after=after, limit=SEARCH_BATCH
            )
        await schedule_runs.forget(self._database, runs_id=runs.id, keep=keep)

    async def _find_silent(self, task: Task) -> None:
        keep = partial(self.keep, task)
        await silent.search(self._database, zones=self._time_zones, keep=keep)

    async def _breathe(self) -> None:
        """Let the reactor do other work."""
        await deferLater(self._reactor, 0)
