"""The latest of many things: so many are remembered, and the oldest is forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(latest: OrderedDict[K, V], key: K, value: V, *, most: int) -> None:
    """Make this the latest of at most ``most`` keys; a key that is there already moves."""
    latest[key] = value
    latest.move_to_end(key)
    if len(latest) > most:
        latest.popitem(last=False)
