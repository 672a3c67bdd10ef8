"""The parameters and rows that all statements that list a page have in common.

Such a statement answers at least one row: with the count alone if nothing was found.
``sql/queries/page.sql`` is the frame of them all.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
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
    """The page in this window; ``make`` makes a value of the columns of its own SELECT."""

    def counted(
        count: int, found: int, *, bytes_before: int | None = None, **columns: Any
    ) -> tuple[int, int, SimpleNamespace, Value | None]:
        del bytes_before
        end = SimpleNamespace(**{name: columns.pop(f"end_{name}") for name in query.page})
        return count, found, end, None if columns["id"] is None else make(**columns)

    rows = await transaction.many(at(page, query), counted, **filters, **parameters(page, query))
    values = [value for *_, value in rows if value is not None]
    count, found, end, _ = rows[0]
    return Page(
        rows=values,
        count=count,
        more=found > page.limit,
        rest=min(found, page.limit) - len(values),
        end=None if end.id is None else end,
    )


def at(page: PageRequest, query: Query) -> Query:
    """The statement that lists the page in this window."""
    if page.key is None:
        return query
    if page.until is not None:
        window = query.between
    else:
        window = query.before if page.backwards else query.after
    assert window is not None
    return window


def parameters(page: PageRequest, query: Query) -> dict[str, Any]:
    """The window as parameters of the statement."""
    parameters: dict[str, Any] = {"limit": page.limit, "offset": page.offset, "count": page.count}
    portion = page.portion
    parameters |= {"portion": portion and portion.rows, "bytes": portion and portion.bytes}
    if page.key is None:
        return parameters
    key = {f"from_{column}": value for column, value in zip(query.page, page.key, strict=True)}
    if page.until is not None:
        names = (f"until_{column}" for column in query.page)
        key |= dict(zip(names, page.until, strict=True))
    return parameters | key | {"offset": 0}
