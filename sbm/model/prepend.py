"""What goes out before the next message of a subscription."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from sbm.model.content import MessageSet, typographic_characters

# Stands for the language of each subscription, as in the name of a file per language.
LANGUAGE = "<LANG>"

MAX_PREPEND = 2000

_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def prepend_from(text: str) -> str:
    """The prepend that an operator wrote, without the blanks around it; raises ValueError."""
    prepend = text.strip()
    if not 0 < len(prepend) <= MAX_PREPEND:
        raise ValueError(f"must have from 1 to {MAX_PREPEND} characters")
    if _UNSTORABLE.search(prepend):
        raise ValueError("must be text in UTF-8")
    found = typographic_characters(prepend)
    if found:
        raise ValueError(f"has special characters which can be replaced: {' '.join(found)}")
    return prepend


def misfit(prepend: str, messageset: MessageSet) -> str | None:
    """Why this cannot go out before the messages of a set; None: it can.

    Before a sound goes the address of a sound. A text is set apart by a newline, which texts for
    WhatsApp must not have; and an address alone is none, but was meant for sounds.
    """
    if messageset.content_type == "audio":
        return None if _is_address(prepend) else "is of sounds, and this is not the URL of one"
    if _is_address(prepend):
        return "is of texts, and this is the URL of a sound"
    if messageset.is_for_whatsapp:
        return "is for WhatsApp, whose texts must not include the newline after it"
    return None


def _is_address(prepend: str) -> bool:
    address = prepend.replace(LANGUAGE, "eng")
    if _BLANK_OR_CONTROL.search(address):
        return False
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unfinished [ or a port that is no number
        return False
