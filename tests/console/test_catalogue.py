"""Every text that a reader sees is in the catalogue, and translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from jinja2 import Environment, nodes

from sbm.console.rendering import Shown
from sbm.console.texts import DEFAULT, LANGUAGES, direction, preferred, translations
from tests.console.catalogue import CONSOLE, lacking, made_again, path_of, read, texts

TRANSLATED = [language for language in LANGUAGES if language != DEFAULT]

RUN = "run: python -m tests.console.catalogue"

_PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]|%%")
_TAG = re.compile(r"</?[a-z]+[^>]*>")
# Some macros make the attributes of an element.
_ATTRIBUTES = re.compile(r'[a-z-]+="[^"]*"')
_BARE = re.compile(r"\b(required|checked|selected)\b")
_LETTERS = re.compile(r"[^\W\d_]{2,}")

# Names that are the same in all languages.
_NAMES = {"sbm", "API", "CSV", "SMS", "ms"}

# Attributes that a reader sees or hears.
_SEEN = {"aria-label", "alt", "title", "placeholder", "label", "aria-description"}

# Arguments of our classes that a reader sees.
_ARGUMENTS = {"title", "button", "sentence", "sentences", "undo", "objection", "label"}

TEMPLATES = sorted((CONSOLE / "templates").glob("*.html"))
MODULES = sorted(CONSOLE.rglob("*.py"))


@pytest.fixture(scope="module")
def found() -> Catalog:
    return texts()


def ids(catalogue: Catalog) -> set[str | tuple[str, ...]]:
    return {
        message.id if isinstance(message.id, str) else tuple(message.id)
        for message in catalogue
        if message.id
    }


def listed(catalogue: Catalog) -> list[tuple[object, object, list[str]]]:
    """The texts in their order, with their translations, and where they are."""
    return [
        (one.id, one.string, [path for path, _ in one.locations]) for one in catalogue if one.id
    ]


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_text_is_in_the_catalogue_and_no_other(language: str, found: Catalog) -> None:
    stored = read(path_of(language), language)

    assert ids(stored) == ids(found), RUN
    assert not stored.obsolete, RUN


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_text_is_translated(language: str, found: Catalog) -> None:
    stored = read(path_of(language), language)

    assert [message.id for message in lacking(stored)] == []
    assert [message.id for message in stored if message.id and message.fuzzy] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_has_the_placeholders_and_the_elements_of_its_text(language: str) -> None:
    wrong = [
        message.id
        for message in read(path_of(language), language)
        if message.id and not _fits(message)
    ]

    assert wrong == []


def _fits(message: Message) -> bool:
    """The form for one may leave the number out."""
    told = message.id if isinstance(message.id, (tuple, list)) else (message.id,)
    strings = message.string if isinstance(message.string, (tuple, list)) else (message.string,)
    given = [str(string) for string in strings]
    wanted = _placeholders(told[-1])
    for number, string in enumerate(given):
        optional = {"%(num)s"} if len(given) > 1 and number == 0 else set()
        if _placeholders(string) | optional != wanted | optional:
            return False
        if sorted(_TAG.findall(string)) != sorted(_TAG.findall(told[-1])):
            return False
    return True


def _placeholders(text: str) -> set[str]:
    return {match[0] for match in _PLACEHOLDER.finditer(text)} - {"%%"} | (
        {"%%"} if "%%" in text else set()
    )


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_catalogue_is_as_the_tool_writes_it(language: str) -> None:
    stored = read(path_of(language), language)
    again = made_again(language, stored)

    assert listed(again) == listed(stored), RUN


class _Visible(HTMLParser):
    """Collects what a reader would see of a template outside gettext."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []

    def handle_data(self, data: str) -> None:
        self.seen.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_button = dict(attrs).get("type") in ("submit", "button", "reset")
        for name, value in attrs:
            if name in _SEEN or (is_button and name == "value"):
                self.seen.append(value or "")


def visible_in(path: Path) -> Iterator[str]:
    """The texts of a template that are not translated."""
    environment = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    tree = environment.parse(path.read_text(encoding="utf-8"))
    parser = _Visible()
    # A blank, where a value or a choice stands: it may be in a tag.
    parser.feed(" ".join(one.data for one in tree.find_all(nodes.TemplateData)))
    parser.close()
    for seen in parser.seen:
        text = _BARE.sub("", _ATTRIBUTES.sub("", seen)) if '="' in seen else seen
        words = [word for word in _LETTERS.findall(text) if word not in _NAMES]
        if words:
            yield " ".join(text.split())


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_shows_no_text_that_is_not_translated(path: Path) -> None:
    assert list(visible_in(path)) == []


def untranslated_in(path: Path) -> Iterator[str]:
    """Constants that a module hands to a page without translating them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg not in _ARGUMENTS:
                continue
            values = keyword.value.elts if isinstance(keyword.value, ast.List) else [keyword.value]
            for value in values:
                if _has_words(value):
                    yield f"line {value.lineno}: {ast.unparse(value)}"


def _has_words(value: ast.expr) -> bool:
    parts = value.values if isinstance(value, ast.JoinedStr) else [value]
    return any(
        isinstance(part, ast.Constant)
        and isinstance(part.value, str)
        and _LETTERS.search(part.value) is not None
        for part in parts
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_shows_no_text_that_is_not_translated(path: Path) -> None:
    assert list(untranslated_in(path)) == []


@pytest.mark.parametrize(
    ("told", "accepted", "language"),
    [
        ("fr", None, "fr"),
        ("fr", "en", "fr"),
        ("xx", "fr", "fr"),
        (None, "fr-CA, en;q=0.5", "fr"),
        (None, "de, FR;q=0.5", "fr"),
        (None, "fr_FR", "fr"),
        (None, "de, pt", "en"),
        (None, "*", "en"),
        (None, "", "en"),
        (None, None, "en"),
        ("", "," * 10_000 + "fr", "en"),
    ],
)
def test_the_language_that_is_used(told: str | None, accepted: str | None, language: str) -> None:
    assert preferred(told, accepted) == language


def test_directions_of_languages() -> None:
    assert [direction(language) for language in ("en", "fr", "ar", "he")] == [
        "ltr",
        "ltr",
        "rtl",
        "rtl",
    ]


def test_a_text_without_a_translation_stays_english() -> None:
    assert translations("en").ugettext("nowhere") == "nowhere"
    assert translations("fr").ugettext("nowhere") == "nowhere"


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_is_one_and_none_or_two_are_as_the_language_has_it(language: str) -> None:
    told = [
        translations(language).ungettext("%(num)s character", "%(num)s characters", number)
        for number in (0, 1, 2, 1_000_000)
    ]

    assert told[0] == (told[1] if language == "fr" else told[2])
    assert told[1] != told[2] == told[3]


def test_numbers_are_as_the_language_has_them() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("UTC")
    english, french = (Shown(language=language, zone=zone) for language in ("en", "fr"))

    assert english.number(1234567) == "1,234,567"
    assert french.number(1234567) == "1\u202f234\u202f567"
    assert english.share(0.1234, 1) == "12.3%"
    assert french.share(0.1234, 1).replace("\u202f", "\u00a0") == "12,3\u00a0%"
