"""Tasks: asked for, taken up by one daemon under a lease, finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter
from sbm.model.paging import Page, PageRequest
from sbm.model.task import Task, TaskKind, TaskRecord, TaskState
from sbm.store.paging import read_part
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("tasks")


async def request(
    transaction: Transaction,
    *,
    kind: TaskKind,
    requested_by: int | None,
    up_to: int | None = None,
    wanted: FailedTaskFilter = EVERYTHING,
) -> UUID:
    """Ask for a task; returns its id, or that of the one that waits to do the same."""
    return await transaction.one(
        QUERIES.request_task,
        UUID,
        kind=kind,
        requested_by=requested_by,
        up_to=up_to,
        wanted=Json(wanted.written()),
    )


async def begin(
    transaction: Transaction,
    *,
    owner: UUID,
    kinds: Iterable[TaskKind],
    lease: timedelta,
    is_doubted: bool = False,
    only: UUID | None = None,
) -> Task | None:
    """Lease the oldest task of these kinds that nobody is at, if there is one.

    While the database's clock ``is_doubted``, no lease is taken for ended. With ``only``, it is
    none but that.
    """
    return await transaction.maybe(
        QUERIES.begin_task,
        _begun,
        owner=owner,
        kinds=list(kinds),
        lease=lease,
        is_doubted=is_doubted,
        only=only,
    )


async def renew(
    transaction: Transaction,
    *,
    task_id: UUID,
    owner: UUID,
    lease: timedelta,
    progress: Mapping[str, Any] | None = None,
) -> bool:
    """Lengthen the lease, and put down how far it is; False: the task is no longer the owner's."""
    renewed = await transaction.execute(
        QUERIES.renew_task, id=task_id, owner=owner, lease=lease, progress=_json(progress)
    )
    return renewed > 0


async def release(transaction: Transaction, *, task_id: UUID, owner: UUID) -> None:
    """Leave an unfinished task to whoever takes it up next."""
    await transaction.execute(QUERIES.release_task, id=task_id, owner=owner)


async def finish(
    transaction: Transaction,
    *,
    task_id: UUID,
    owner: UUID,
    reason: str = "",
    progress: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
) -> None:
    """The task is done or, for a reason, failed."""
    await transaction.execute(
        QUERIES.finish_task,
        id=task_id,
        owner=owner,
        reason=reason,
        progress=_json(progress),
        result=_json(result),
    )


async def find(transaction: Transaction, *, task_id: UUID) -> TaskRecord | None:
    """What is known of a task, if there is such a one."""
    return await transaction.maybe(QUERIES.find_task, TaskRecord, id=task_id)


async def list_page(
    transaction: Transaction,
    *,
    window: PageRequest,
    kind: TaskKind | None = None,
    state: TaskState | None = None,
) -> Page[TaskRecord]:
    """A part of those of this kind and state, newest first."""
    return await read_part(
        transaction, QUERIES.list_tasks, TaskRecord, window, kind=kind, state=state
    )


def _begun(*, wanted: Mapping[str, Any], **columns: Any) -> Task:
    return Task(wanted=FailedTaskFilter.read(wanted), **columns)


def _json(given: Mapping[str, Any] | None) -> Json | None:
    return None if given is None else Json(given)
