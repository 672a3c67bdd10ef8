"""Pages of a list: which page is asked for, and the rows that were found."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from attrs import frozen

Row = TypeVar("Row")


@frozen(kw_only=True)
class PortionSize:
    """How much of a page is read at once: at most so many rows, and always one.

    No row follows after ``bytes`` bytes of JSON and texts.
    """

    rows: int
    bytes: int


@frozen(kw_only=True)
class PageRequest:
    """A request for ``limit`` rows of a list, in the order of the list.

    Without a ``key``, they come after the first ``offset`` rows. With a ``key``, they are next to
    the row that has, or had, this key: right after it, or right before it (``backwards``). Rows
    that were inserted or deleted meanwhile change nothing about that. ``count`` is the number of
    rows that was counted before; None means that they are counted now.

    With a ``portion``, only the first rows of the page are read; ``until`` is the key of its last
    row, when the others are.
    """

    limit: int
    offset: int = 0
    key: tuple[Any, ...] | None = None
    backwards: bool = False
    count: int | None = None
    portion: PortionSize | None = None
    until: tuple[Any, ...] | None = None


@frozen(kw_only=True)
class Page(Generic[Row]):
    """The rows of a page, in the order of the list; ``count`` is the size of the whole list.

    ``more`` says whether the list continues beyond the page, in the direction of the request.
    ``rest`` is how many rows of the page follow after this portion of it, and ``end`` has the
    columns of the key of its last row; None if it has no rows, or if it was read as a whole.
    """

    rows: list[Row]
    count: int
    more: bool
    rest: int = 0
    end: Any = None


@frozen(kw_only=True)
class EndlessPage(Generic[Row]):
    """Rows of a list that nobody counts, in its order; ``more``: others follow."""

    rows: list[Row]
    more: bool
