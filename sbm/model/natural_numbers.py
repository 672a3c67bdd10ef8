"""Numbers that people and browsers write."""

from __future__ import annotations

from sbm.model.ids import LARGEST_ID

# As many digits as the largest number that a column can have; so no text takes long to read.
_MOST_DIGITS = len(str(2**63 - 1))


def natural_number(text: str, *, least: int = 0, most: int = LARGEST_ID) -> int | None:
    """The number that a text is, in digits of ASCII alone; None if it is none, or out of range."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        return None
    number = int(text)
    return number if least <= number <= most else None
