"""What all statements that list a page have in common: their parameters, and their rows.

Such a statement answers one row more than the window has, if there is one, and at least one row:
with the count alone where nothing was found. ``sql/queries/page.sql`` is the frame of them all.
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
    """The part in this window; ``make`` makes values of the columns, less the count."""

    def counted(count: int, **columns: Any) -> tuple[int, Value | None]:
        return count, None if columns["id"] is None else make(**columns)

    rows = await transaction.many(query, counted, **filters, **parameters(window, query))
    values = [value for _, value in rows if value is not None]
    more = len(values) > window.limit
    if more:
        values.pop(0 if window.backwards else -1)
    return Page(rows=values, count=rows[0][0], more=more)


def parameters(window: PageRequest, query: Query) -> dict[str, Any]:
    """The window as parameters of a statement; without a key those of the key are null."""
    key = window.key or (None,) * len(query.page)
    return {
        "limit": window.limit,
        "offset": 0 if window.key else window.offset,
        "backwards": window.backwards,
        "count": window.count,
        **{f"from_{column}": value for column, value in zip(query.page, key, strict=True)},
    }
