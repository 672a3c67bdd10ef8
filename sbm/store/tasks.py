"""Tasks: a client asks for them, one daemon does each under a lease, and finishes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter
from sbm.model.paging import Page, PageRequest
from sbm.model.task import Task, TaskKind, TaskRecord, TaskState
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("tasks")


async def request(
    transaction: Transaction,
    *,
    kind: TaskKind,
    requested_by: int | None,
    up_to: int | None = None,
    wanted: FailedTaskFilter = EVERYTHING,
) -> UUID:
    """Ask for a task; returns its id, or that of a task that waits to do the same."""
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
    """Lease the oldest task of these kinds that is free, if there is one.

    A task is free if no daemon has a lease on it. While the database's clock ``is_doubted``, no
    lease is considered ended. With ``only``, only that task is leased.
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
    """Renew the lease and store the progress; False if the task is no longer the owner's."""
    renewed = await transaction.execute(
        QUERIES.renew_task, id=task_id, owner=owner, lease=lease, progress=_json(progress)
    )
    return renewed > 0


async def release(transaction: Transaction, *, task_id: UUID, owner: UUID) -> None:
    """Free an unfinished task, so that any daemon can take it."""
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
    """Record that the task is done or, with a reason, failed."""
    await transaction.execute(
        QUERIES.finish_task,
        id=task_id,
        owner=owner,
        reason=reason,
        progress=_json(progress),
        result=_json(result),
    )


async def find(transaction: Transaction, *, task_id: UUID) -> TaskRecord | None:
    """The record of this task, if there is one."""
    return await transaction.maybe(QUERIES.find_task, TaskRecord, id=task_id)


async def list_page(
    transaction: Transaction,
    *,
    page: PageRequest,
    kind: TaskKind | None = None,
    state: TaskState | None = None,
) -> Page[TaskRecord]:
    """A page of the tasks of this kind and state, newest first."""
    return await read_page(
        transaction, QUERIES.list_tasks, TaskRecord, page, kind=kind, state=state
    )


def _begun(*, wanted: Mapping[str, Any], **columns: Any) -> Task:
    return Task(wanted=FailedTaskFilter.read(wanted), **columns)


def _json(given: Mapping[str, Any] | None) -> Json | None:
    return None if given is None else Json(given)
