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
COMPOSED = (
    "must have a letter and its accent as one character (Unicode calls this NFC): type the letter"
    " again, because some programs store the accent as a second character"
)
SYMBOL = "must have no other signs and digits than those of ASCII"
ACCENT = "must not have accents that are characters of their own, over a letter or alone"
MIXED = (
    "must not mix letters of several scripts, or contain phonetic or historic letters, or Latin"
    " letters that look like others, as the dotless i does"
)
LOOKALIKE = "must not consist of letters that look like Latin ones"
COLON = "must not contain a colon: it ends the name when a user logs in with a password"

# U+2800 is a symbol that has no dots, so it looks like a blank. Hangul fillers are letters, and
# variation selectors are marks: the last class has both.
_INVISIBLE = regex.compile(
    r"[\p{White_Space}\p{Z}\p{C}\u2800\p{Default_Ignorable_Code_Point}]", regex.V1
)

# Signs and digits beyond ASCII look like those of ASCII, or like letters: only the mark of a long
# vowel in Japanese is a part of names.
_SYMBOL = regex.compile(r"[^\p{ASCII}\p{L}\p{M}]|[\p{Lm}&&\p{sc=Common}--\u30fc]", regex.V1)

# Latin letters, which an accent may be a part of: those that are ASCII without it, and these. The
# others are phonetic, or look like ASCII. Of two that look alike, only one is here: no capital eth,
# because of the capital d with stroke, and no turned e, because of the schwa.
_LATIN = frozenset("ÆæŒœØøÞþðĐđĦħŁłŊŋßẞƁɓƊɗƘƙƳƴƐɛƆɔƏə")

# The scripts of table 5 of UAX 31 (Recommended Scripts), except Latin. The other scripts are not
# used for names today, and some of their letters look like Latin ones.
_SCRIPTS = (
    *("Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek"),
    *("Gujarati", "Gurmukhi", "Hebrew", "Kannada", "Khmer", "Lao", "Malayalam", "Myanmar", "Oriya"),
    *("Sinhala", "Tamil", "Telugu", "Thaana", "Thai", "Tibetan"),
)
# People who write these languages mix these scripts in one word.
_TOGETHER = (("Han", "Hiragana", "Katakana"), ("Han", "Hangul"), ("Han", "Bopomofo"))
# What these blocks have is phonetic or historic, or a part of a syllable that looks like l or o.
_UNUSUAL = (
    *("Phonetic_Extensions", "Cyrillic_Extended_A", "Cyrillic_Extended_B", "Cyrillic_Extended_C"),
    *("Hangul_Jamo", "Hangul_Jamo_Extended_A", "Hangul_Jamo_Extended_B"),
)


def _letters_of(scripts: Sequence[str]) -> str:
    """The letters of scripts, and their marks."""
    letters = "".join(rf"\p{{scx={script}}}" for script in scripts)
    unusual = "".join(rf"--\p{{Block={block}}}" for block in _UNUSUAL)
    return rf"[[{letters}]&&[\p{{L}}\p{{M}}]{unusual}]"


# The first alternative is for Latin letters, which are looked at one by one.
_ONE_SCRIPT = regex.compile(
    "|".join(
        rf"(?:{letters}|[\p{{ASCII}}--\p{{L}}])*"
        for letters in [
            r"[\p{scx=Latin}&&\p{L}]",
            *(_letters_of([script]) for script in _SCRIPTS),
            *map(_letters_of, _TOGETHER),
        ]
    ),
    regex.V1,
)

# A mark alone can look like a dot or a ring. A mark over a letter of these scripts can be a stroke;
# all their usual accents are a part of one character with the letter.
_ACCENT = regex.compile(
    r"(?<![\p{L}\p{M}])\p{M}|[[\p{scx=Latin}\p{scx=Greek}\p{scx=Cyrillic}]&&\p{L}]\p{M}", regex.V1
)

_LETTER = regex.compile(r"\p{L}")
_LATIN_LETTER = regex.compile(r"\p{scx=Latin}")
# Letters of other scripts that look like a Latin letter in lower case or in upper case. This is a
# choice of those of UTS 39, by script: its whole table has thousands of lines.
_LIKE_LATIN = frozenset(
    "асеіјорѕухһԁԛԝѵӏүьгҽАВЕКМНОРСТУХІЈЅԚԜӀҮЬԌѴ"  # Cyrillic
    "οναριυκγτσηϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹϺͿ"  # Greek
    "օոսհցզյքռՕՍԼՏՈՀ"  # Armenian
    "וןס"  # Hebrew
    "اهہھەۃة"  # Arabic
    "ყჿოႽ"  # Georgian
    "ዐሀ"  # Ethiopic
    "ဝင"  # Myanmar
    "ଠഠട"  # Oriya, Malayalam
    "丨丶ノー"  # Han, Katakana
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
    composed = unicodedata.normalize("NFC", text)
    if unicodedata.normalize("NFKC", text) != composed:
        return COMPATIBILITY
    if _SYMBOL.search(text):
        return SYMBOL
    if text != composed:
        return COMPOSED
    return ACCENT if _ACCENT.search(text) else _objection_to_letters(text)


def _objection_to_letters(text: str) -> str | None:
    local_part, at, domain = text.rpartition("@")
    for part in (local_part, *domain.split(".")) if at else (text,):
        if not _ONE_SCRIPT.fullmatch(part) or not all(map(_is_usual, part)):
            return MIXED
    if any(_looks_latin(part) for part in (local_part, domain)):
        return LOOKALIKE
    return None


def objection_to_name(text: str) -> str | None:
    """The same for a name: with Basic authentication, a colon ends the name."""
    return objection(text) or (COLON if ":" in text else None)


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


def _is_usual(one: str) -> bool:
    """Whether it is no Latin letter, or one that is used in names and looks like no other."""
    if not _LATIN_LETTER.match(one) or one in _LATIN:
        return True
    return unicodedata.normalize("NFD", one)[0].isascii()


def _looks_latin(text: str) -> bool:
    """Whether all letters that are not Latin look like Latin ones."""
    others = [one for one in text if _LETTER.match(one) and not _LATIN_LETTER.match(one)]
    return bool(others) and all(one in _LIKE_LATIN for one in others)
