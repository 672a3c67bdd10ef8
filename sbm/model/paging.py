"""A part of a list: which one is wanted, and what it was found to be."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from attrs import frozen

Row = TypeVar("Row")


@frozen(kw_only=True)
class PageRequest:
    """Which rows of a list: ``limit`` of them, in the order of the list.

    Without a ``key`` they come after the first ``offset`` rows. With one, they stand right after
    the row that has, or had, this key, or right before it (``backwards``), whatever was inserted
    or deleted meanwhile. ``count`` is what was counted before; None: count now.
    """

    limit: int
    offset: int = 0
    key: tuple[Any, ...] | None = None
    backwards: bool = False
    count: int | None = None


@frozen(kw_only=True)
class Page(Generic[Row]):
    """The rows of a window, in the order of the list, and how many the whole list has.

    ``more``: whether the list goes on beyond them, in the direction of the window.
    """

    rows: list[Row]
    count: int
    more: bool
