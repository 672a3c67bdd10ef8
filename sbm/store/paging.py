"""The parameters and rows that all statements that list a page have in common.

Such a statement returns one row more than the page has, if there is one. It returns at least one
row: if nothing was found, that row has only the count. ``sql/queries/page.sql`` is put around each
of these statements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sbm.model.paging import Page, PageRequest
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import Query

Value = TypeVar("Value")


async def read_part(
    transaction: Transaction,
    query: Query,
    make: Callable[..., Value],
    window: PageRequest,
    **filters: Any,
) -> Page[Value]:
    """The page in this window; ``make`` makes a value of the columns, except the count."""

    def counted(count: int, **columns: Any) -> tuple[int, Value | None]:
        return count, None if columns["id"] is None else make(**columns)

    rows = await transaction.many(query, counted, **filters, **parameters(window, query))
    values = [value for _, value in rows if value is not None]
    more = len(values) > window.limit
    if more:
        values.pop(0 if window.backwards else -1)
    return Page(rows=values, count=rows[0][0], more=more)


def parameters(window: PageRequest, query: Query) -> dict[str, Any]:
    """The window as parameters of a statement; if it has no key, those of the key are null."""
    key = window.key or (None,) * len(query.page)
    return {
        "limit": window.limit,
        "offset": 0 if window.key else window.offset,
        "backwards": window.backwards,
        "count": window.count,
        **{f"from_{column}": value for column, value in zip(query.page, key, strict=True)},
    }
