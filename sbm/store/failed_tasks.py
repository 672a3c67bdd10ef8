"""Sends that were refused or failed: they are listed, and owed again."""

from __future__ import annotations

from typing import Any

from attrs import asdict

from sbm.model.failed_task import EVERYTHING, FailedTask, FailedTaskFilter, Requeued
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("failed_tasks")


async def list_page(
    transaction: Transaction, *, page: PageRequest, wanted: FailedTaskFilter = EVERYTHING
) -> Page[FailedTask]:
    """A page of those that match the filter, newest first."""
    return await read_page(
        transaction, QUERIES.list_failed_tasks, FailedTask, page, **asdict(wanted)
    )


async def find(transaction: Transaction, *, failed_task_id: int) -> FailedTask | None:
    """The one with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_failed_task, FailedTask, id=failed_task_id)


async def newest(transaction: Transaction) -> int | None:
    """The id of the newest, or None if there is none."""
    return await transaction.maybe(QUERIES.find_newest_failed_task, int)


async def requeue(
    transaction: Transaction,
    *,
    up_to: int,
    limit: int,
    wanted: FailedTaskFilter = EVERYTHING,
    after: int = 0,
    alone: bool = False,
) -> Requeued:
    """Owe the oldest ``limit`` of those that match again, or skip them with a reason.

    Their ids are greater than ``after``, and ``up_to`` at most. If fewer than ``limit`` were seen,
    there are no more. Failed tasks that another transaction has locked are left. A send that is
    requeued ``alone`` overtakes those of a tick.
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


async def hold(transaction: Transaction, *, failed_task_id: int) -> None:
    """Lock this one, and its subscription, until the transaction ends."""
    await transaction.execute(QUERIES.hold_failed_task, id=failed_task_id)


def _requeued(**columns: Any) -> Requeued:
    return Requeued(**{name: value for name, value in columns.items() if value is not None})
