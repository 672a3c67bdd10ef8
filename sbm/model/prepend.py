"""What an operator has go out before the next message of many subscriptions."""

from __future__ import annotations

from sbm.model.content import MessageSet
from sbm.model.content_rules import (
    MAX_TEXT_LENGTH,
    is_address,
    is_blank,
    prepend_problems,
    typographic_characters,
)
from sbm.model.text import is_storable

# Stands for the language of each subscription, as in the name of a file per language.
LANGUAGE = "<LANG>"

# Of a URL; how long a text may be is one of the rules of what can be sent.
MAX_PREPEND = 2000


def prepend_from(text: str) -> str:
    """The prepend that an operator wrote, without the blanks around it; raises ValueError."""
    prepend = text.strip()
    if is_blank(prepend) or len(prepend) > MAX_PREPEND:
        raise ValueError(f"must have from 1 to {MAX_PREPEND} characters")
    if not is_storable(prepend):
        raise ValueError("must be text in UTF-8")
    found = typographic_characters(prepend)
    if found:
        raise ValueError(f"has special characters which can be replaced: {' '.join(found)}")
    return prepend


def misfit(prepend: str, messageset: MessageSet, *, limit: int = MAX_TEXT_LENGTH) -> str | None:
    """Why this cannot go out before the messages of a set; None: it can.

    Besides what the rules say, a URL alone before texts is refused: it was meant for sounds.
    """
    prepend = prepend.replace(LANGUAGE, "eng")
    medium = messageset.medium
    if not medium.is_audio and is_address(prepend):
        return "is of texts, and this is the URL of a sound"
    found = {one.code: one for one in prepend_problems(prepend, medium, limit=limit)}
    if "no url" in found:
        return "is of sounds, and this is not the URL of one"
    if "whatsapp" in found:
        return "is for WhatsApp, whose texts must not include the newline after it"
    if "length" in found:
        return f"is of texts, and this {found['length'].clause}"
    return None
