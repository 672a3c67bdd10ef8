"""The names of users: which names are the same, and which new ones are refused.

Names that look alike must not be several users. This is a rule for new names; the names that exist,
and those from the old service, stay as they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import regex
from attrs import frozen

BLANK = "must not contain blanks, control characters or invisible characters"
COMPATIBILITY = "must be written with plain letters, not with variants like fullwidth ones"
MIXED = "must not mix letters of several scripts, or contain phonetic or historic letters"
LOOKALIKE = "must not consist of letters that look like Latin ones"

# U+2800 is a symbol that has no dots, so it looks like a blank. Hangul fillers are letters, and
# variation selectors are marks: the last class has both.
_INVISIBLE = regex.compile(
    r"[\p{White_Space}\p{Z}\p{C}\u2800\p{Default_Ignorable_Code_Point}]", regex.V1
)

# The scripts of table 5 of UAX 31 (Recommended Scripts), except Latin. The other scripts are not
# used for names today, and some of their letters look like Latin ones.
_SCRIPTS = (
    *("Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek"),
    *("Gujarati", "Gurmukhi", "Hebrew", "Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya"),
    *("Sinhala", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan"),
)
# People who write these languages mix these scripts in one word.
_TOGETHER = (("Han", "Hiragana", "Katakana"), ("Han", "Hangul"), ("Han", "Bopomofo"))

# Phonetic letters are Latin, too, but look like ordinary ones.
_LATIN = r"[\p{scx=Latin}--\p{Block=IPA_Extensions}--\p{Block=Phonetic_Extensions}]"


def _one_of(scripts: Sequence[str]) -> str:
    return "[" + "".join(rf"\p{{scx={script}}}" for script in scripts) + "]"


# Digits and punctuation are Common, and accents are Inherited: they go with each script.
_ONE_SCRIPT = regex.compile(
    "|".join(
        rf"(?:{letters}|[\p{{scx=Common}}\p{{scx=Inherited}}])*"
        for letters in [
            _LATIN,
            *(_one_of([script]) for script in _SCRIPTS),
            *map(_one_of, _TOGETHER),
        ]
    ),
    regex.V1,
)

_LETTER = regex.compile(r"\p{L}")
_LATIN_LETTER = regex.compile(r"\p{scx=Latin}")
# Cyrillic, Greek and Armenian letters that look like a Latin letter in lower case or in upper case.
_LIKE_LATIN = frozenset(
    "асеіјорѕухһԁԛԝѵӏүьгАВЕКМНОРСТУХІЈЅԚԜӀҮЬЅοναριυκγτσηϲΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹօոսհցզյքՕՍԼՏ"
)


@frozen(kw_only=True)
class KnownName:
    """The name and the e-mail address of a user who exists."""

    username: str
    email: str


class AmbiguousName(ValueError):
    """Several users have this name, if capitals do not count; ``usernames`` are theirs."""

    def __init__(self, usernames: Sequence[str]) -> None:
        super().__init__(f"several users have this name: {', '.join(map(repr, usernames))}")
        self.usernames = usernames


def folded(text: str) -> str:
    """A form that is the same for all spellings of a name: casefolded NFKC.

    Folding can make a text that is not NFKC, and the other way round; the second round ends that.
    """
    once = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", once).casefold())


def objection(text: str) -> str | None:
    """Why a new user may not have this name or e-mail address, as the end of a sentence.

    Letters of one script that look alike are not found: l and 1, or O and 0.
    """
    if _INVISIBLE.search(text):
        return BLANK
    if unicodedata.normalize("NFKC", text) != unicodedata.normalize("NFC", text):
        return COMPATIBILITY
    local_part, at, domain = text.rpartition("@")
    for part in (local_part, *domain.split(".")) if at else (text,):
        if not _ONE_SCRIPT.fullmatch(unicodedata.normalize("NFC", part)):
            return MIXED
    if any(_looks_latin(part) for part in (local_part, domain)):
        return LOOKALIKE
    return None


def is_storable(text: str) -> bool:
    """Whether the database can store a text, or look for it: no NUL, no half of a pair."""
    return "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


def meant_by(called: str, known: Iterable[KnownName]) -> str | None:
    """The name of the user who is meant by a name or an e-mail address, if it is one of these.

    The exact name comes first, then the exact e-mail address of one user alone; then the name and
    the address in another spelling. An address that several users have is nobody's. Raises
    AmbiguousName if the name is that of several users in other spellings.
    """
    known = list(known)
    key = folded(called)
    if any(one.username == called for one in known):
        return called
    if name := _only(one.username for one in known if one.email == called):
        return name
    alike = [one.username for one in known if folded(one.username) == key]
    if len(alike) > 1:
        raise AmbiguousName(alike)
    return _only(alike) or _only(one.username for one in known if folded(one.email) == key)


def _only(names: Iterable[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None


def _looks_latin(text: str) -> bool:
    """Whether all letters that are not Latin look like Latin ones."""
    others = [one for one in text if _LETTER.match(one) and not _LATIN_LETTER.match(one)]
    return bool(others) and all(one in _LIKE_LATIN for one in others)
