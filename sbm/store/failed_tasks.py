"""Sends that were refused or failed: told, and owed again."""

from __future__ import annotations

from sbm.model.failed_task import FailedTask
from sbm.model.page import Part, Window
from sbm.store.database import Transaction
from sbm.store.parts import read_part
from sbm.store.queries import load

QUERIES = load("failed_tasks")


async def list_page(transaction: Transaction, *, window: Window) -> Part[FailedTask]:
    """A part of all of them, newest first."""
    return await read_part(transaction, QUERIES.list_failed_tasks, FailedTask, window)


async def find(transaction: Transaction, *, failed_task_id: int) -> FailedTask | None:
    """The one with this id, if there is one."""
    row = await transaction.row(QUERIES.find_failed_task, id=failed_task_id)
    return FailedTask(**row) if row else None


async def newest(transaction: Transaction) -> int | None:
    """The id of the newest, or None: there is none."""
    row = await transaction.row(QUERIES.find_newest_failed_task)
    return row["id"] if row else None


async def requeue(transaction: Transaction, *, up_to: int, limit: int) -> int:
    """Owe the oldest ``limit`` of those with ids ``up_to`` again, or skip them with a reason.

    Returns how many were taken from the list.
    """
    row = await transaction.row(QUERIES.requeue_failed_tasks, up_to=up_to, limit=limit)
    assert row is not None
    return int(row["taken"])
