"""The rows of files that messages use; the files themselves are in the media folder."""

from __future__ import annotations

from collections.abc import Collection

from sbm.model.content import BinaryContent
from sbm.model.paging import Page, PageRequest
from sbm.store import messages
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("binary_contents")


async def create(transaction: Transaction, *, content: str) -> BinaryContent:
    """Record a file that is stored under this name, which no other file has."""
    return await transaction.one(QUERIES.insert_binary_content, BinaryContent, content=content)


async def find(transaction: Transaction, *, ids: Collection[int]) -> dict[int, BinaryContent]:
    """Those of these files that exist, by id."""
    if not ids:
        return {}
    found = await transaction.many(QUERIES.find_binary_contents, BinaryContent, ids=list(ids))
    return {file.id: file for file in found}


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a file; if so, its row is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.hold_binary_content, int, id=row_id) is not None


async def replace(transaction: Transaction, *, file_id: int, content: str) -> BinaryContent | None:
    """Replace it by another stored file, which has this name; None if there is no such row."""
    return await transaction.maybe(
        QUERIES.replace_binary_content, BinaryContent, id=file_id, content=content
    )


async def delete(transaction: Transaction, *, file_id: int) -> bool:
    """Delete a file's row and the messages that use it; False if there is none."""
    await messages.delete_those_with(transaction, binary_content_id=file_id)
    return await transaction.execute(QUERIES.delete_binary_content, id=file_id) > 0


async def list_page(transaction: Transaction, *, page: PageRequest) -> Page[BinaryContent]:
    """A page of all files, by id."""
    return await read_page(transaction, QUERIES.list_binary_contents, BinaryContent, page)


async def is_under_way(transaction: Transaction, *, row_id: int) -> bool:
    """Whether people who are under way get messages of a set that uses this file."""
    return await transaction.one(QUERIES.is_file_under_way, bool, id=row_id)
