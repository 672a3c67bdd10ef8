"""Sends that were refused or failed: told, and owed again."""

from __future__ import annotations

from typing import Any

from attrs import asdict, evolve

from sbm.model.failed_task import EVERYTHING, FailedTask, Requeued, Wanted
from sbm.model.paging import Page, PageRequest
from sbm.model.send import Trigger
from sbm.store import tasks
from sbm.store.paging import read_part
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("failed_tasks")

# So many are owed again at once; a list that is longer is left to a task.
AT_ONCE = 200


async def list_page(
    transaction: Transaction, *, window: PageRequest, wanted: Wanted = EVERYTHING
) -> Page[FailedTask]:
    """A part of those that match the filter, newest first."""
    return await read_part(
        transaction, QUERIES.list_failed_tasks, FailedTask, window, **asdict(wanted)
    )


async def find(transaction: Transaction, *, failed_task_id: int) -> FailedTask | None:
    """The one with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_failed_task, FailedTask, id=failed_task_id)


async def newest(transaction: Transaction) -> int | None:
    """The id of the newest, or None: there is none."""
    return await transaction.maybe(QUERIES.find_newest_failed_task, int)


async def requeue(
    transaction: Transaction,
    *,
    up_to: int,
    limit: int,
    wanted: Wanted = EVERYTHING,
    after: int = 0,
    alone: bool = False,
) -> Requeued:
    """Owe the oldest ``limit`` of those that match again, or skip them with a reason.

    Their ids lie behind ``after``, and are ``up_to`` at most. If fewer than ``limit`` were seen,
    there are no more. Those that somebody else has locked are left. One that is requeued ``alone``
    overtakes those of a tick.
    """
    return await transaction.one(
        QUERIES.requeue_failed_tasks,
        _requeued,
        up_to=up_to,
        limit=limit,
        after=after,
        alone=alone,
        **asdict(wanted),
    )


async def requeue_one(transaction: Transaction, *, failed_task_id: int) -> Trigger:
    """Owe this one again; where it is skipped instead, the reason is that of the ledger."""
    await transaction.execute(QUERIES.hold_failed_task, id=failed_task_id)
    done = await requeue(
        transaction, after=failed_task_id - 1, up_to=failed_task_id, limit=1, alone=True
    )
    return Trigger(found=done.taken > 0, accepted=done.owed > 0, reason=done.reason)


async def requeue_all(
    transaction: Transaction, *, wanted: Wanted, requested_by: int | None
) -> Requeued:
    """Owe all that match now again: the oldest at once, whatever is left by a task."""
    up_to = await newest(transaction)
    if up_to is None:
        return Requeued()
    done = await requeue(transaction, up_to=up_to, limit=AT_ONCE, wanted=wanted)
    if done.seen < AT_ONCE and not done.locked:
        return done
    await tasks.request(
        transaction,
        kind="requeue-failed-tasks",
        requested_by=requested_by,
        up_to=up_to,
        wanted=wanted,
    )
    return evolve(done, goes_on=True)


def _requeued(**columns: Any) -> Requeued:
    return Requeued(**{name: value for name, value in columns.items() if value is not None})
