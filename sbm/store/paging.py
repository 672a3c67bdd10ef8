"""What all statements that list a part have in common: their parameters, and their rows.

Such a statement answers one row more than the window has, if there is one, and at least one row:
with the count alone where nothing was found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sbm.model.paging import Page, PageRequest
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import Query

Value = TypeVar("Value")

# What the parts of a key are called in statements.
BY_ID = ("from_id",)
NEWEST_FIRST = ("from_time", "from_id")


async def read_part(
    transaction: Transaction,
    query: Query,
    make: Callable[..., Value],
    window: PageRequest,
    key: tuple[str, ...] = BY_ID,
    **filters: Any,
) -> Page[Value]:
    """The part in this window; ``make`` makes values of the columns, less the count."""

    def counted(count: int, **columns: Any) -> tuple[int, Value | None]:
        return count, None if columns["id"] is None else make(**columns)

    rows = await transaction.many(query, counted, **filters, **parameters(window, key))
    values = [value for _, value in rows if value is not None]
    more = len(values) > window.limit
    if more:
        values.pop(0 if window.backwards else -1)
    return Page(rows=values, count=rows[0][0], more=more)


def parameters(window: PageRequest, key: tuple[str, ...]) -> dict[str, Any]:
    """The window as parameters; without a key those of the key are null."""
    values = window.key or (None,) * len(key)
    return {
        "limit": window.limit,
        "offset": 0 if window.key else window.offset,
        "backwards": window.backwards,
        "count": window.count,
        **dict(zip(key, values, strict=True)),
    }
