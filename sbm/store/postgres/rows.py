"""Makes values of the rows of a statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from attrs import has

from sbm.store.postgres.errors import StatementMisused
from sbm.store.postgres.statements import Cardinality, Query

T = TypeVar("T")

# How many rows a statement may return, if that is limited.
_ROWS: Mapping[Cardinality, tuple[int, ...]] = {"one": (1,), "maybe": (0, 1)}

_VOID = 2278  # the type's number, as of all types that come with the server


def check_row_count(query: Query, count: int) -> None:
    """Raise StatementMisused if a statement returned more or fewer rows than its header says."""
    if count not in _ROWS.get(query.returns, (count,)):
        raise StatementMisused(f"{query.name} is :{query.returns}, and returned {count} rows")


def row_mapping(
    statement: str, make: Callable[..., T], columns: Sequence[Any]
) -> Callable[[Sequence[Any]], T]:
    """A function that makes a value of each row of these ``columns``, as a cursor describes them.

    An attrs class, or a function, takes the columns by their names. Any other type is that of the
    only column, which is the value. A column of type void, such as the result of pg_notify, does
    not count. Raises StatementMisused if there are more columns, or if the type differs.
    """
    places = {one.name: place for place, one in enumerate(columns) if one.type_code != _VOID}
    if len({one.name for one in columns}) < len(columns):
        raise StatementMisused(f"{statement} calls two columns alike")
    takes_columns = not isinstance(make, type) or has(make)
    if takes_columns and len(places) == len(columns):
        return lambda row: make(**dict(zip(places, row, strict=True)))
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
    """The names of the columns that are true in a row of booleans."""
    return [name for name, is_true in columns.items() if is_true]


def by_column(**columns: Any) -> dict[str, Any]:
    """A row as a dict, by the names of its columns."""
    return columns
