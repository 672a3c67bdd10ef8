"""Text that PostgreSQL can store."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text without characters that PostgreSQL cannot store, which would make a batch fail."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
