"""The languages of messages, as browsers and screen readers know them."""

from __future__ import annotations

from babel import Locale, UnknownLocaleError
from babel.core import get_global


def tag(code: str) -> str:
    """The BCP 47 tag of a language code of messages: ``en-ZA`` for ``eng_ZA``.

    A language that has a code of two letters has no other in BCP 47. A language that is not known
    keeps its own code.
    """
    language, _, country = code.partition("_")
    short = get_global("language_aliases").get(language, language)
    return f"{short}-{country}" if country else str(short)


def spoken(code: str, reader: str) -> str:
    """The name of a language in the language of the ``reader``; the code if there is none."""
    language, _, country = tag(code).partition("-")
    try:
        name = Locale.parse(reader).languages.get(language)
    except (ValueError, UnknownLocaleError):
        name = None
    if not name:
        return code
    return f"{name} ({country})" if country else str(name)
