"""The parameters and rows that all statements that list a page have in common.

Such a statement answers one row more than the page has, if there is one, and at least one row:
with the count alone where nothing was found. ``sql/queries/page.sql`` is the frame of them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sbm.model.paging import Page, PageRequest
from sbm.store.postgres.statements import Query
from sbm.store.postgres.transaction import Transaction

Value = TypeVar("Value")


async def read_page(
    transaction: Transaction,
    query: Query,
    make: Callable[..., Value],
    page: PageRequest,
    **filters: Any,
) -> Page[Value]:
    """The page in this window; ``make`` makes a value of the columns, except the count."""

    def counted(count: int, **columns: Any) -> tuple[int, Value | None]:
        return count, None if columns["id"] is None else make(**columns)

    rows = await transaction.many(at(page, query), counted, **filters, **parameters(page, query))
    values = [value for _, value in rows if value is not None]
    more = len(values) > page.limit
    if more:
        values.pop(0 if page.backwards else -1)
    return Page(rows=values, count=rows[0][0], more=more)


def at(page: PageRequest, query: Query) -> Query:
    """The statement that lists the page in this window."""
    if page.key is None:
        return query
    window = query.before if page.backwards else query.after
    assert window is not None
    return window


def parameters(page: PageRequest, query: Query) -> dict[str, Any]:
    """The window as parameters of the statement."""
    parameters: dict[str, Any] = {"limit": page.limit, "offset": page.offset, "count": page.count}
    if page.key is None:
        return parameters
    key = {f"from_{column}": value for column, value in zip(query.page, page.key, strict=True)}
    return parameters | key | {"offset": 0}
