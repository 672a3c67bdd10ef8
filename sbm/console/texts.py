"""The languages of the console, and its texts in them.

The texts in the code and the templates are English. The catalogues in ``translations`` are read
when the daemon starts, as they were written: there is no compiled file to forget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

TRANSLATIONS = Path(__file__).parent / "translations"

# The languages that are complete, by their codes, each with its own name.
LANGUAGES: Mapping[str, str] = {"en": "English", "fr": "Français"}
DEFAULT = "en"

Gettext = Callable[[str], str]


def marked(text: str) -> str:
    """Mark a constant for the catalogues: it is translated when it is shown."""
    return text


@cache
def translations(language: str) -> NullTranslations:
    """The texts in a language; those of DEFAULT are in the code."""
    path = TRANSLATIONS / f"{language}.po"
    if language == DEFAULT or not path.exists():
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(fp=compiled)


def preferred(told: str | None, accepted: str | None) -> str:
    """The language to use: the one that was chosen, or the first one that the browser accepts."""
    if told in LANGUAGES:
        return str(told)
    wanted = [part.partition(";")[0].strip() for part in (accepted or "").split(",")[:20]]
    known = (name.replace("_", "-").partition("-")[0].lower() for name in wanted)
    return next((name for name in known if name in LANGUAGES), DEFAULT)


def direction(language: str) -> str:
    """Whether the language is written from the left or from the right: ``ltr`` or ``rtl``."""
    return Locale.parse(language).text_direction
