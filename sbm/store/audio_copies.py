"""Which of our files the voice vendor has, as a task has found it, or made it."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sbm.model.content import FileToCompare
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("audio_copies")


async def count_files(transaction: Transaction) -> int:
    """How many files there are to be compared."""
    return await transaction.one(QUERIES.count_files, int)


async def note_seen(transaction: Transaction, *, task_id: UUID, sizes: Mapping[str, int]) -> None:
    """The vendor has files of these names and sizes; those that are not ours are forgotten."""
    await transaction.execute(
        QUERIES.note_seen_files, task_id=task_id, names=list(sizes), sizes=list(sizes.values())
    )


async def note_copied(transaction: Transaction, *, task_id: UUID, name: str, size: int) -> None:
    """The task has put this file there."""
    await transaction.execute(QUERIES.note_copied_file, task_id=task_id, name=name, size=size)


async def list_to_compare(
    transaction: Transaction, *, task_id: UUID, after: int, limit: int
) -> list[FileToCompare]:
    """The next files behind an id, by id."""
    return await transaction.many(
        QUERIES.list_files_to_compare, FileToCompare, task_id=task_id, after=after, limit=limit
    )


async def forget_unseen(transaction: Transaction, *, task_id: UUID) -> None:
    """What the task has not found is not there any more."""
    await transaction.execute(QUERIES.forget_unseen_files, task_id=task_id)
