"""How the rows of a statement become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from attrs import has

from sbm.store.postgres.errors import StatementMisused

T = TypeVar("T")


def row_mapping(
    statement: str, make: Callable[..., T], columns: Sequence[str]
) -> Callable[[Sequence[Any]], T]:
    """What makes a value of each row of these columns.

    A class of attrs, or a function, takes the columns by their names. Any other type is that of the
    only column, which is the value. Raises StatementMisused where there are more, or another type.
    """
    takes_columns = not isinstance(make, type) or has(make)
    if takes_columns:
        return lambda row: make(**dict(zip(columns, row, strict=True)))
    if len(columns) != 1:
        raise StatementMisused(f"{statement} returns {len(columns)} columns, not one")
    kind = cast("type[T]", make)
    return lambda row: _scalar(statement, kind, row[0])


def _scalar(statement: str, kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise StatementMisused(f"{statement} returned {type(value).__name__}, not {kind.__name__}")
    return value


def names_of_true(**columns: bool) -> list[str]:
    """Of a row of truths: which columns are true."""
    return [name for name, is_true in columns.items() if is_true]


def by_column(**columns: Any) -> dict[str, Any]:
    """A row as it is, by the names of its columns."""
    return columns
