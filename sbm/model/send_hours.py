"""The hours in which messages may leave, as a text: 08:00-20:00."""

from __future__ import annotations

import re

_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d|24:00)", re.ASCII)


def are_hours(text: str) -> bool:
    """Whether the text says from when until when; the end may be on the next day."""
    match = _HOURS.fullmatch(text)
    return match is not None and match[1] != match[2]
