"""Begins a task, renews its lease, and records how it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.model.task import Task, TaskKind
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.runtime.loop import Loop
from sbm.runtime.wakeups import Wakeup
from sbm.runtime.work_gate import Gate
from sbm.store import tasks, unreadable
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable, may_be_of_a_row
from sbm.store.postgres.transaction import Transaction

# Longer than any one step: even if the database is lost, a step ends within three minutes.
LEASE = timedelta(minutes=5)
REST_SECONDS = 5.0

# Does a task; may return its result.
TaskWork = Callable[[Task], Awaitable[Mapping[str, Any] | None]]


class Interrupted(Exception):
    """The daemon stops, or the task belongs to another daemon now."""


class TaskFailed(Exception):
    """The task ended without success; the reason is for the client that asked for it."""

    def __init__(self, reason: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.result = result


@define(eq=False, slots=False, kw_only=True)
class TaskRunner(Service, ABC):
    """Does tasks of some kinds, one at a time. If it is stopped, it leaves its task unfinished.

    A subclass has a ``loop_name``, and says with ``work`` what does the tasks of each kind.
    """

    loop_name: ClassVar[str]

    _reactor: Any
    _database: Database
    _owner: UUID
    _wakeup: Wakeup
    _gate: Gate | None = None
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop(
            reactor=self._reactor,
            name=self.loop_name,
            one_pass=self.one_pass,
            rest=REST_SECONDS,
            wakeup=self._wakeup,
            gate=self._gate,
        )

    @property
    @abstractmethod
    def work(self) -> Mapping[TaskKind, TaskWork]:
        """The function that does the tasks of each kind; it raises TaskFailed or Interrupted."""

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None] | None:
        Service.stopService(self)
        return self._loop.stopService()

    async def one_pass(self) -> int:
        """Do one task, if one waits; if it fails for good, record the reason."""
        work = self.work
        task = await self._begin(list(work))
        if task is None:
            return 0
        reason, result = "", None
        try:
            result = await work[task.kind](task)
        except Interrupted:
            await self._database.transact(tasks.release, task_id=task.id, owner=self._owner)
            return 0
        except DatabaseUnavailable:
            raise  # its lease will end, and a daemon begins it again
        except TaskFailed as failed:
            reason, result = str(failed), failed.result
            self._log.warn(
                "task {id} ({kind}) failed: {why}", id=task.id, kind=task.kind, why=reason
            )
        except Exception as error:
            self._log.failure("task {id} ({kind}) failed", id=task.id, kind=task.kind)
            reason = f"{type(error).__name__}: {error}"
        await self._database.transact(
            tasks.finish, task_id=task.id, owner=self._owner, reason=reason, result=result
        )
        self._log.info("task {id} ({kind}) is finished", id=task.id, kind=task.kind)
        return 1

    async def _begin(self, kinds: Sequence[TaskKind]) -> Task | None:
        """Begin the oldest task; tasks that cannot be read end as failed and delay no other."""
        try:
            return await self._begun(kinds)
        except Exception as error:
            if not may_be_of_a_row(error):
                raise
        waiting = await self._database.transact(unreadable.list_tasks_to_begin, kinds=kinds)
        for task_id in waiting:
            task = await self._begin_alone(kinds, task_id)
            if task is not None:
                return task
        return None

    async def _begin_alone(self, kinds: Sequence[TaskKind], task_id: UUID) -> Task | None:
        try:
            return await self._begun(kinds, only=task_id)
        except Exception as error:
            if not may_be_of_a_row(error):
                raise
            reason = unreadable.reason(error)
        await self._database.transact(unreadable.fail_task, task_id=task_id, reason=reason)
        self._log.error("task {id} has failed: {reason}", id=task_id, reason=reason)
        return None

    async def _begun(self, kinds: Sequence[TaskKind], only: UUID | None = None) -> Task | None:
        async def begin(transaction: Transaction, reading: ClockReading) -> Task | None:
            return await tasks.begin(
                transaction,
                owner=self._owner,
                kinds=kinds,
                lease=LEASE,
                is_doubted=reading.is_doubted,
                only=only,
            )

        return await self._clock.transact(self._database, begin)

    async def keep(self, task: Task, progress: Mapping[str, Any] | None = None) -> None:
        """Go on, unless the daemon stops or another daemon has taken the task."""
        if not self.running or not await self._database.transact(
            tasks.renew, task_id=task.id, owner=self._owner, lease=LEASE, progress=progress
        ):
            raise Interrupted
