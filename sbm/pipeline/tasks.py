"""The work that clients ask for and do not wait for, one task at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sbm.model.estimate import days_ahead, is_due_on
from sbm.model.task import Kind, Task
from sbm.pipeline.loop import Bell, Loop
from sbm.store import behind_subscriptions, estimates, failed_tasks, tasks
from sbm.store.database import Database
from sbm.store.errors import DatabaseUnavailable
from sbm.store.searches import FIRST, Preparation

REST_SECONDS = 5.0
# Longer than any one step: with all that a lost database may cost it ends within three minutes.
LEASE = timedelta(minutes=5)

REQUEUE_BATCH = 500
SEARCH_BATCH = 2000


class _Interrupted(Exception):
    """The daemon stops, or the task is no longer its own."""


@define(eq=False, slots=False)
class Tasks(Service):
    """Does the tasks that wait, and leaves unfinished what it is stopped in.

    Every task can be done again from its start. ``owed`` is called when somebody is owed a send.
    """

    _reactor: Any
    _database: Database
    _time_zone: ZoneInfo
    _owner: UUID
    _owed: Callable[[], None]
    _bell: Bell
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

    async def _find_behind(self, task: Task) -> None:
        preparation = Preparation(
            database=self._database, time_zone=self._time_zone, keep=partial(self._keep, task)
        )
        search = await preparation.begin()
        after: UUID | None = FIRST
        while after is not None:
            await self._keep(task)
            after = await self._database.transact(
                behind_subscriptions.search, search_id=search.id, after=after, limit=SEARCH_BATCH
            )
        await preparation.end(search)

    async def _breathe(self) -> None:
        """Let everything else have its turn."""
        await deferLater(self._reactor, 0)
