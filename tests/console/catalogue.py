"""The texts of the console, and their translations: ``python -m tests.console.catalogue``.

It finds all texts in the code and the templates, and writes ``fr.po`` again: translations stay, new
texts come in without one, and texts that are gone are left out. It prints those that lack a
translation. ``--add FILE`` takes translations from another catalogue first.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from sbm.console.texts import DEFAULT, LANGUAGES, TRANSLATIONS

CONSOLE = TRANSLATIONS.parent

# The functions that take texts, and which of their arguments are texts. The rest is Babel's.
KEYWORDS = {
    "_": None,
    "gettext": None,
    "ngettext": (1, 2),
    "marked": None,
    "counted": (1, 2),
}

# As Renderer has it: it decides about the blanks in a text.
_JINJA = {
    "extensions": "jinja2.ext.i18n",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "silent": "false",
}

HEADER = """\
# The texts of the console of sbm, in {language}.
# ``python -m tests.console.catalogue`` writes this file; translations are edited here."""

# What Babel knows has a form of its own for millions, which no text here needs.
PLURALS = {"fr": "nplurals=2; plural=(n > 1);"}

# The lines of the header that say something. The history of the file has the rest.
_KEPT = re.compile(rb'"(Language|Plural-Forms|MIME-Version|Content-T[a-z-]+):')


def texts() -> Catalog:
    """All texts, without translations."""
    found = Catalog()
    extracted = extract_from_dir(
        CONSOLE,
        method_map=[("**.py", "python"), ("templates/**.html", "jinja2")],
        options_map={"templates/**.html": _JINJA},
        keywords=KEYWORDS,
    )
    for path, _line, told, _comments, context in extracted:
        place = f"sbm/console/{Path(path).as_posix()}"
        # Without numbers of lines, which change with each change of a file.
        found.add(told, None, [(place, None)], context=context)  # type: ignore[list-item]
    return found


def path_of(language: str) -> Path:
    """The file of a language."""
    return TRANSLATIONS / f"{language}.po"


def read(path: Path, language: str) -> Catalog:
    """A catalogue as it is stored."""
    with path.open("rb") as file:
        return read_po(file, locale=language)


def made_again(language: str, known: Catalog) -> Catalog:
    """All texts, with the translations that are known."""
    catalogue = Catalog(
        locale=language,
        project="sbm",
        header_comment=HEADER.format(language=LANGUAGES[language]),
        fuzzy=False,
    )
    catalogue.mime_headers = [("Plural-Forms", PLURALS[language])]
    for message in sorted(_messages(texts()), key=lambda message: _key(message).casefold()):
        old = known.get(message.id, message.context)
        string = old.string if old is not None and not old.fuzzy else ""
        if isinstance(message.id, tuple) and not isinstance(string, tuple):
            string = ("",) * catalogue.num_plurals
        places = sorted(set(message.locations))
        catalogue.add(message.id, string, places, message.flags, context=message.context)
    return catalogue


def _messages(catalogue: Catalog) -> Iterator[Message]:
    yield from (message for message in catalogue if message.id)


def _key(message: Message) -> str:
    return message.id if isinstance(message.id, str) else str(message.id[0])


def lacking(catalogue: Catalog) -> list[Message]:
    """The texts without a translation, or with half of one."""
    return [message for message in _messages(catalogue) if not _is_translated(message)]


def _is_translated(message: Message) -> bool:
    if isinstance(message.string, tuple):
        return all(message.string)
    return bool(message.string) and not isinstance(message.id, tuple)


def write(catalogue: Catalog, path: Path) -> None:
    """Store a catalogue."""
    path.parent.mkdir(exist_ok=True)
    written = BytesIO()
    write_po(written, catalogue, width=96, ignore_obsolete=True)
    head, between, rest = written.getvalue().partition(b"\n\n")
    lines = [line for line in head.split(b"\n") if line[:1] != b'"' or _KEPT.match(line)]
    path.write_bytes(b"\n".join(lines) + between + rest)


def main(arguments: list[str]) -> None:
    """Write the catalogues of all languages again."""
    for language in LANGUAGES:
        if language == DEFAULT:
            continue
        path = path_of(language)
        known = read(path, language) if path.exists() else Catalog(locale=language)
        if arguments[:1] == ["--add"]:
            for message in _messages(read(Path(arguments[1]), language)):
                known.delete(message.id, message.context)
                known.add(message.id, message.string, context=message.context)
        catalogue = made_again(language, known)
        write(catalogue, path)
        for message in lacking(catalogue):
            print(f"{language}: {message.id!r}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
