"""Personal data that is hidden until a user asks for it."""

from __future__ import annotations

import re

from sbm.model.identity import canonical_uuid

HIDDEN = "•••"

# Telephone numbers, however they are written; years and counts are shorter.
_NUMBER = re.compile(r"[+]?[0-9](?:[ ()./-]?[0-9]){6,}")
_ID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}")

# So many characters of a UUID tell people apart on a page.
_SHORT = 8


def short(identity: str) -> str:
    """The beginning of a UUID; any other identity may be a number or a name, and is hidden."""
    if canonical_uuid(identity) is None:
        return HIDDEN
    return f"{identity[:_SHORT]}…"


def without_numbers(text: str) -> str:
    """A reason without what may be a telephone number; the ids in it stay."""
    parts, end = [], 0
    for found in _ID.finditer(text):
        parts += [_NUMBER.sub(HIDDEN, text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, _NUMBER.sub(HIDDEN, text[end:])])
