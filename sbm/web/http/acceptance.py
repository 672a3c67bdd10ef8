"""What a client accepts as an answer."""

from __future__ import annotations

import re

# Browsers get JSON, too. A list that can be had as CSV has a parameter for it.
_ACCEPTABLE = frozenset(
    {"*/*", "application/*", "application/json", "text/*", "text/csv", "text/html"}
)


def accepts(accept: str | None) -> bool:
    """Whether an Accept header admits the answers of this service."""
    if not (accept or "").strip():
        return True
    for entry in (accept or "").split(","):
        kind, *options = (part.strip().lower() for part in entry.split(";"))
        refused = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", option) for option in options)
        if kind in _ACCEPTABLE and not refused:
            return True
    return False
