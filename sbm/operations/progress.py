"""How an operation reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Called with the number of things that were done since the last call.
Advance = Callable[[int], object]
# Called with the name and the number of the things to do; the context lasts as long as the work.
Progress = Callable[[str, int], AbstractContextManager[Advance]]


def no_progress(_what: str, _count: int) -> AbstractContextManager[Advance]:
    """Ignore progress."""
    return nullcontext(lambda _more: None)
