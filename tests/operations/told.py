"""Keeps the progress that an operation reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from sbm.operations.progress import Advance


@define
class ToldProgress:
    """The name of the work, how much there is, and how much was reported as done."""

    what: str = ""
    count: int = 0
    done: list[int] = field(factory=list)
    is_over: bool = False

    @contextmanager
    def __call__(self, what: str, count: int) -> Iterator[Advance]:
        self.what, self.count = what, count
        yield self.done.append
        self.is_over = True
