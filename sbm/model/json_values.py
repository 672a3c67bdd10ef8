"""How many values a text of JSON has, before it is parsed."""

from __future__ import annotations


def has_more_values(text: bytes, most: int) -> bool:
    """Whether there are more than ``most`` values in it.

    A value takes up to a hundred times its bytes in memory: ``{}`` is 64 bytes. The text is only
    scanned, and need not be right.
    """
    if len(text) <= most or _openings(text) < most:
        return False
    # There may be commas and brackets inside strings.
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * most:  # a value has two strings at most: its name, and itself
        return True
    return _openings(b"".join(bare.split(b'"')[::2])) >= most


def _openings(text: bytes) -> int:
    """How many signs there are after which a value stands; the first value needs none."""
    return len(text) - len(text.translate(None, b",[{"))  # one pass, however many there are
