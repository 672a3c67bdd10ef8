"""What a client accepts as an answer."""

from __future__ import annotations

import re

# Browsers get JSON, too.
_ACCEPTABLE = frozenset({"*/*", "application/*", "application/json", "text/*", "text/html"})


def accepts(accept: str | None, other: str | None = None) -> bool:
    """Whether an Accept header admits the answers of this service; ``other`` is one more type."""
    if not (accept or "").strip():
        return True
    for entry in (accept or "").split(","):
        kind, *options = (part.strip().lower() for part in entry.split(";"))
        refused = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", option) for option in options)
        if (kind in _ACCEPTABLE or kind == other) and not refused:
            return True
    return False
