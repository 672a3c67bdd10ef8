"""Files that messages carry: their rows; the bytes lie in the media folder."""

from __future__ import annotations

from collections.abc import Collection

from sbm.model.content import BinaryContent
from sbm.store.database import Transaction
from sbm.store.queries import load

QUERIES = load("binary_contents")


async def create(transaction: Transaction, *, content: str) -> BinaryContent:
    """Record a file that is stored under this name, which no other has."""
    row = await transaction.row(QUERIES.insert_binary_content, content=content)
    assert row is not None
    return BinaryContent(**row)


async def find(transaction: Transaction, *, ids: Collection[int]) -> dict[int, BinaryContent]:
    """Those of these files that exist, by id."""
    if not ids:
        return {}
    rows = await transaction.rows(QUERIES.find_binary_contents, ids=list(ids))
    return {row["id"]: BinaryContent(**row) for row in rows}


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a file, and then keep its row until the transaction ends."""
    return await transaction.row(QUERIES.hold_binary_content, id=row_id) is not None
