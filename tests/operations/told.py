"""What an operation tells of its progress, kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from sbm.operations.progress import Advance


@define
class ToldProgress:
    """What was done, of how many, and how many were told to be done."""

    what: str = ""
    count: int = 0
    done: list[int] = field(factory=list)
    is_over: bool = False

    @contextmanager
    def __call__(self, what: str, count: int) -> Iterator[Advance]:
        self.what, self.count = what, count
        yield self.done.append
        self.is_over = True
