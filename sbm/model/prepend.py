"""Prepends that an operator sets for many subscriptions."""

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

# A placeholder for the language of each subscription, as in the name of a file per language.
LANGUAGE = "<LANG>"

# The longest URL. The longest text is one of the rules in sbm/model/content_rules.py.
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
    """Why a prepend cannot be sent before the messages of a set; None if it can.

    In addition to the rules, a URL alone is refused for a text message set: it was meant for an
    audio message set.
    """
    prepend = prepend.replace(LANGUAGE, "eng")
    medium = messageset.medium
    if not medium.is_audio and is_address(prepend):
        return "is a text message set, and this is the URL of a sound"
    found = {one.code: one for one in prepend_problems(prepend, medium, limit=limit)}
    if "no url" in found:
        return "is an audio message set, and this is not the URL of a sound"
    if "whatsapp" in found:
        return "is for WhatsApp, whose texts must not include the newline after it"
    if "length" in found:
        return f"is a text message set, and this {found['length'].clause}"
    return None
