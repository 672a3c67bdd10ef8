"""How an operation tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Called with how many more are done.
Advance = Callable[[int], object]
# Called with what is done and how many of it there are, for as long as that takes.
Progress = Callable[[str, int], AbstractContextManager[Advance]]


def untold(_what: str, _count: int) -> AbstractContextManager[Advance]:
    """Progress that nobody wants to be told of."""
    return nullcontext(lambda _more: None)
