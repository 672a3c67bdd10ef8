"""Taking up a task, keeping it, and putting down how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from attrs import define, field
from twisted.logger import Logger

from sbm.model.task import Task, TaskKind
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.store import tasks, unreadable
from sbm.store.postgres.database import Database, Transaction
from sbm.store.postgres.errors import DatabaseUnavailable, may_be_of_a_row

# Longer than any one step: with all that a lost database may cost it ends within three minutes.
LEASE = timedelta(minutes=5)


class Interrupted(Exception):
    """The daemon stops, or the task is no longer its own."""


class TaskFailed(Exception):
    """The task is at its end, and did not do what it should; the reason is for who asked."""

    def __init__(self, reason: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.result = result


@define(eq=False, slots=False, kw_only=True)
class TaskRunner:
    """Has one task at a time done, in the name of one owner, while it ``is_open``."""

    _database: Database
    _owner: UUID
    _is_open: Callable[[], bool]
    _log: Logger = field(factory=Logger)
    _clock: DatabaseClock = field(factory=DatabaseClock)

    async def one_pass(
        self, work: Mapping[TaskKind, Callable[[Task], Awaitable[Mapping[str, Any] | None]]]
    ) -> int:
        """Do one task, if one waits; what fails for good is put down with its reason.

        What does it may return its result.
        """
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
            raise  # its lease will end, and somebody begins it anew
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
        """The oldest task; those that cannot be read end as failed, and hold up no other."""
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
        """Go on, unless the daemon stops or somebody else has taken the task."""
        if not self._is_open() or not await self._database.transact(
            tasks.renew, task_id=task.id, owner=self._owner, lease=LEASE, progress=progress
        ):
            raise Interrupted
