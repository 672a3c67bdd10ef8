"""Text that can be stored."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogates(text: str) -> bool:
    """Whether there are halves of characters in it, for which UTF-8 has no bytes."""
    return _SURROGATE.search(text) is not None


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store it: it takes no NUL, and only what UTF-8 has bytes for."""
    return "\0" not in text and not has_surrogates(text)
