"""Text that can be stored, and text that can be shown."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")

# What a terminal executes, what ends a line, what turns the direction of a text around, and what no
# encoding has bytes for. A tab and a line feed are left to `one_line`.
_UNSHOWN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"
    "\ud800-\udfff]"
)


def has_surrogates(text: str) -> bool:
    """Whether there are halves of characters in it, for which UTF-8 has no bytes."""
    return _SURROGATE.search(text) is not None


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store it: it takes no NUL, and only what UTF-8 has bytes for."""
    return "\0" not in text and not has_surrogates(text)


def escaped(text: str) -> str:
    """The text with its control characters as escapes, as JSON has them: u001b after a backslash.

    Tabs and line feeds stay.
    """
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, *, most: int | None = None) -> str:
    """The text on one line, for logs, reasons and terminals: what others wrote is only data.

    White space becomes single blanks, and other control characters become escapes. The text is cut
    off after ``most`` characters.
    """
    line = escaped(" ".join((text if most is None else text[: 8 * most]).split()))
    return line if most is None else line[:most]
