"""A batch that fails is divided until each row that makes it fail is alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from sbm.store.postgres.errors import may_be_of_a_row, one_line

A = TypeVar("A")
R = TypeVar("R")

_log = Logger()


async def divided(
    items: Sequence[A],
    work: Callable[[Sequence[A]], Awaitable[R]],
    alone: Callable[[A, Exception], Awaitable[object]],
) -> list[R]:
    """Do ``work`` on all items, in as few parts as possible; returns the result of each part.

    An item that fails even alone is passed to ``alone``, with the error.
    """
    if not items:
        return []
    try:
        return [await work(items)]
    except Exception as error:
        if not may_be_of_a_row(error):
            raise
        if len(items) == 1:
            await alone(items[0], error)
            return []
    middle = len(items) // 2
    first = await divided(items[:middle], work, alone)
    return first + await divided(items[middle:], work, alone)


async def whole_or_divided(
    what: str,
    whole: Callable[[], Awaitable[R]],
    *,
    due: Callable[[], Awaitable[Sequence[A]]],
    part: Callable[[Sequence[A]], Awaitable[R]],
    alone: Callable[[A, Exception], Awaitable[object]],
) -> list[R]:
    """Do ``whole``; if one of its rows cannot be read, do ``part`` on parts of what is ``due``.

    An error that also happens without any row is not the fault of a row, and is raised.
    """
    try:
        return [await whole()]
    except Exception as error:
        if not may_be_of_a_row(error):
            raise
        _log.warn("{what} cannot be read together: {error}", what=what, error=one_line(error))
    items = await due()
    nothing = await part(())
    return [nothing, *await divided(items, part, alone)]
