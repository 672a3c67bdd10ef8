"""Tasks: asked for, taken up by one daemon under a lease, finished."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.failed_task import EVERYTHING, Wanted
from sbm.model.task import Kind, Task
from sbm.store.database import Transaction
from sbm.store.queries import load

QUERIES = load("tasks")


async def request(
    transaction: Transaction,
    *,
    kind: Kind,
    requested_by: int | None,
    up_to: int | None = None,
    wanted: Wanted = EVERYTHING,
) -> UUID:
    """Ask for a task; returns its id, or that of the one that waits to do the same."""
    row = await transaction.row(
        QUERIES.request_task,
        kind=kind,
        requested_by=requested_by,
        up_to=up_to,
        wanted=Json(wanted.written()),
    )
    assert row is not None
    task_id: UUID = row["id"]
    return task_id


async def begin(
    transaction: Transaction, *, owner: UUID, kinds: Iterable[Kind], lease: timedelta
) -> Task | None:
    """Lease the oldest task of these kinds that nobody is at, if there is one."""
    row = await transaction.row(QUERIES.begin_task, owner=owner, kinds=list(kinds), lease=lease)
    return Task(**row | {"wanted": Wanted.read(row["wanted"])}) if row else None


async def renew(transaction: Transaction, *, task_id: UUID, owner: UUID, lease: timedelta) -> bool:
    """Lengthen the lease; False: the task is no longer the owner's."""
    return (
        await transaction.row(QUERIES.renew_task, id=task_id, owner=owner, lease=lease) is not None
    )


async def release(transaction: Transaction, *, task_id: UUID, owner: UUID) -> None:
    """Leave an unfinished task to whoever takes it up next."""
    await transaction.execute(QUERIES.release_task, id=task_id, owner=owner)


async def finish(transaction: Transaction, *, task_id: UUID, owner: UUID, reason: str = "") -> None:
    """The task is done or, for a reason, failed."""
    await transaction.execute(QUERIES.finish_task, id=task_id, owner=owner, reason=reason)
