"""Sends that were refused or failed: they are listed, and owed again."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from attrs import asdict

from sbm.model.failed_task import (
    EVERYTHING,
    FailedTask,
    FailedTaskFilter,
    FailureGroup,
    Requeued,
)
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("failed_tasks")

# So many are grouped: more would take seconds.
MOST_GROUPED = 100_000


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


async def list_groups(
    transaction: Transaction, *, zone: ZoneInfo, limit: int, most: int = MOST_GROUPED
) -> list[FailureGroup]:
    """The newest ``most`` of them by stage and cause, the largest groups first.

    The days of their counts are those of ``zone``.
    """
    return await transaction.many(
        QUERIES.group_failed_tasks, FailureGroup, zone=zone.key, limit=limit, most=most
    )


async def judge(
    transaction: Transaction,
    *,
    wanted: FailedTaskFilter = EVERYTHING,
    failed_task_id: int | None = None,
) -> list[tuple[str | None, int]]:
    """How many of those that match would be owed again now (None), or skipped for which reason."""
    return await transaction.many(
        QUERIES.judge_failed_tasks, _judged, failed_task_id=failed_task_id, **asdict(wanted)
    )


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


def _judged(*, reason: str | None, count: int) -> tuple[str | None, int]:
    return reason, count


def _requeued(**columns: Any) -> Requeued:
    return Requeued(**{name: value for name, value in columns.items() if value is not None})
