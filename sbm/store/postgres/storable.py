"""Text that PostgreSQL can store."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot store: one such answer would hold up its batch."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
