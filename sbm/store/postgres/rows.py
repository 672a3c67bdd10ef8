"""How the rows of a statement become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from attrs import has

from sbm.store.postgres.errors import StatementMisused

T = TypeVar("T")

_VOID = 2278  # the type's number, as of all types that come with the server


def row_mapping(
    statement: str, make: Callable[..., T], columns: Sequence[Any]
) -> Callable[[Sequence[Any]], T]:
    """What makes a value of each row of these ``columns``, as a cursor describes them.

    A class of attrs, or a function, takes the columns by their names. Any other type is that of the
    only column, which is the value. What pg_notify returns is of type void, and not counted as a
    column. Raises StatementMisused if there are more columns, or their type is another one.
    """
    places = {one.name: place for place, one in enumerate(columns) if one.type_code != _VOID}
    if len({one.name for one in columns}) < len(columns):
        raise StatementMisused(f"{statement} calls two columns alike")
    takes_columns = not isinstance(make, type) or has(make)
    if takes_columns:
        return lambda row: make(**{name: row[place] for name, place in places.items()})
    if len(places) != 1:
        raise StatementMisused(f"{statement} returns {len(places)} columns, not one")
    kind = cast("type[T]", make)
    (only,) = places.values()
    return lambda row: _scalar(statement, kind, row[only])


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
