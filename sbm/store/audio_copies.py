"""The files that the voice vendor has: those that a task has found or copied there."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sbm.model.content import FileToCompare
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("audio_copies")


async def count_files(transaction: Transaction) -> int:
    """How many files there are to be compared."""
    return await transaction.one(QUERIES.count_files, int)


async def note_seen(transaction: Transaction, *, task_id: UUID, sizes: Mapping[str, int]) -> None:
    """Record that the vendor has files of these names and sizes; ignore those that are not ours."""
    await transaction.execute(
        QUERIES.note_seen_files, task_id=task_id, names=list(sizes), sizes=list(sizes.values())
    )


async def note_copied(transaction: Transaction, *, task_id: UUID, name: str, size: int) -> None:
    """Record that the task has copied this file there."""
    await transaction.execute(QUERIES.note_copied_file, task_id=task_id, name=name, size=size)


async def list_to_compare(
    transaction: Transaction, *, task_id: UUID, after: int, limit: int
) -> list[FileToCompare]:
    """The next files after an id, by id."""
    return await transaction.many(
        QUERIES.list_files_to_compare, FileToCompare, task_id=task_id, after=after, limit=limit
    )


async def forget_unseen(transaction: Transaction, *, task_id: UUID) -> None:
    """Forget files that the task has not found: they are not there any more."""
    await transaction.execute(QUERIES.forget_unseen_files, task_id=task_id)
