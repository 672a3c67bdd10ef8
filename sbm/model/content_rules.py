"""What can be sent: one set of rules, asked at every door and once more before a POST.

A door is where a text, or a circumstance under which texts are sent, comes in: messages, message
sets, files, the metadata of subscriptions, the import, and operators' commands.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import frozen

from sbm.model.echo import echoed

# What the Message Sender takes, in characters (code points), unless it is set otherwise.
MAX_TEXT_LENGTH = 1000

PREPEND = "prepend_next_delivery"

Code = Literal[
    "empty",
    "typographic",
    "length",
    "whatsapp",
    "no audio",
    "only audio",
    "no text",
    "blank",
    "no url",
]

# Both together are no longer than what other errors echo.
_SHOWN_OF_TEXT = 150
_SHOWN_OF_CHARACTERS = 50

# Telephones that know only GSM 03.38 show these as boxes; each has a plain form.
_TYPOGRAPHIC = re.compile("[“”’–]")

# What WhatsApp refuses in the parameters of a template.
_NOT_IN_WHATSAPP = re.compile(r"\n|\t|\s{4}")

# Characters that show nothing though Unicode counts them as letters, marks or symbols, or keeps
# their places for more of the kind (Default_Ignorable_Code_Point).
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)
# Controls, formats (among them the zero-width ones) and separators.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})

_SOUND = re.compile(
    r"\.(3ga|aac|aif[cf]?|amr|ape|au|awb|caf|flac|gsm|m4[ab]|midi?|mp[23]|mpga|og[ag]|opus|ra|snd|spx"
    r"|wav|weba|wma)",
    re.IGNORECASE,
)
# What is surely no sound. Other names tell nothing: they may be sounds.
_NO_SOUND = re.compile(
    r"\.(avif|bmp|csv|docx?|gif|hei[cf]|html?|ico|jfif|jpe?g?|json|pdf|png|svg|tiff?|txt|webp|xlsx?"
    r"|xml|zip)",
    re.IGNORECASE,
)

_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")


@frozen(kw_only=True)
class Medium:
    """How the messages of a set go out."""

    content_type: str
    channel: str | None

    @property
    def is_audio(self) -> bool:
        return self.content_type == "audio"

    @property
    def is_whatsapp(self) -> bool:
        """Whether texts go out by WhatsApp, by the name of the channel."""
        return "whatsapp" in (self.channel or "").lower()


@frozen(kw_only=True)
class Content:
    """What a message carries, and how its set goes out; ``file_name`` is the stored file's."""

    text: str | None
    file_name: str | None
    medium: Medium


@frozen(kw_only=True)
class Placed:
    """The content of a message, and where it stands."""

    id: int
    messageset_id: int
    messageset: str
    sequence_number: int
    lang: str
    content: Content

    def told(self, problem: Problem) -> str:
        """A sentence about what is wrong with it."""
        return f"Message {self.sequence_number} in {self.lang} (id {self.id}) {problem.clause}."


@frozen(kw_only=True)
class Problem:
    """Why something cannot be sent.

    ``sentence`` tells it to the client that wrote the value; ``clause`` goes on after the name of
    the message or prepend.
    """

    code: Code
    sentence: str
    clause: str


def is_blank(text: str | None) -> bool:
    """Whether nothing of a text would be seen: blanks and zero-width characters alone, or none."""
    return all(
        character.isspace()
        or unicodedata.category(character) in _INVISIBLE_CATEGORIES
        or _INVISIBLE.match(character)
        for character in set(text or "")  # a body may be a million of the same
    )


def is_address(text: str) -> bool:
    """Whether this is an absolute http or https URL."""
    if _BLANK_OR_CONTROL.search(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unfinished [ or a port that is no number
        return False


def joined(prepend: str | None, text: str | None) -> str:
    """The content of an outbound: a prepend stands on a line of its own."""
    return "\n".join(part for part in (prepend, text) if part is not None and not is_blank(part))


def typographic_characters(text: str) -> list[str]:
    """The first occurrences, in order, of characters that have to be replaced by their plain form.

    At least as many as are shown.
    """
    found = islice(_TYPOGRAPHIC.finditer(text), _SHOWN_OF_CHARACTERS)
    return [one[0] for one in found]


def content_problems(content: Content, *, limit: int = MAX_TEXT_LENGTH) -> list[Problem]:
    """What keeps a message from being sent, whatever is prepended; of a sound the text is not."""
    files = _file_problems(content)
    if content.medium.is_audio:
        return files
    return files + _text_problems(content.text, content.medium, limit)


def new_problems(
    before: Content | None, after: Content, *, limit: int = MAX_TEXT_LENGTH
) -> list[Problem]:
    """What is wrong with a message that is written, and was not wrong before.

    A text that is written has to keep all rules. One that stays as it is (blanks around it do not
    count) only has to be no worse under what changes around it.
    """
    had = set() if before is None else {one.code for one in content_problems(before, limit=limit)}
    is_same_text = before is not None and _stripped(before.text) == _stripped(after.text)
    is_same_file = before is not None and before.file_name == after.file_name
    found = [
        one
        for one in _file_problems(after)
        if one.code not in had or not (is_same_file or one.code == "empty")
    ]
    if before is not None and before.medium.is_audio and _is_sound_alone(after):
        found.append(_ONLY_AUDIO)
    if not is_same_text:
        return found + _text_problems(after.text, after.medium, limit)
    return found + [
        one
        for one in content_problems(after, limit=limit)
        if one not in found and one.code not in had and one.code not in _FILE_CODES
    ]


_FILE_CODES: frozenset[Code] = frozenset({"empty", "no audio", "only audio"})


def _stripped(text: str | None) -> str:
    return (text or "").strip()


def _file_problems(content: Content) -> list[Problem]:
    is_empty = is_blank(content.text)
    if is_empty and content.file_name is None:
        return [_EMPTY]
    if content.medium.is_audio and (content.file_name is None or _is_no_sound(content.file_name)):
        return [_NO_AUDIO]
    return []


def _is_sound_alone(content: Content) -> bool:
    """Whether a text message set has nothing but a sound here.

    The old service takes such a message, and so does the Message Sender. It is refused only where
    the sounds of a set become texts.
    """
    return (
        not content.medium.is_audio
        and is_blank(content.text)
        and _is_sound(content.file_name or "")
    )


def _text_problems(text: str | None, medium: Medium, limit: int) -> list[Problem]:
    text = text or ""
    found = []
    if len(text) > limit:
        found.append(_too_long(len(text), limit))
    if typographic_characters(text):
        found.append(_typographic(text))
    if medium.is_whatsapp and _NOT_IN_WHATSAPP.search(text):
        found.append(_LAYOUT)
    return found


_EMPTY = Problem(
    code="empty",
    sentence="Messages must have text or file attached",
    clause="has neither a text nor a file",
)
_NO_AUDIO = Problem(
    code="no audio",
    sentence="A message of an audio message set must have a sound attached.",
    clause="has no audio",
)
_ONLY_AUDIO = Problem(
    code="only audio",
    sentence="A message of a text message set must have a text, or an image attached.",
    clause="has audio and no text, and its message set is of texts",
)
_LAYOUT = Problem(
    code="whatsapp",
    sentence="Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces.",
    clause="has a newline, a tab or 4 consecutive spaces, which WhatsApp does not take",
)


def _too_long(length: int, limit: int) -> Problem:
    return Problem(
        code="length",
        sentence=f"Ensure this field has no more than {limit} characters.",
        clause=f"has {length} characters, more than {limit}",
    )


def _typographic(text: str) -> Problem:
    clause = _typographic_clause(text)
    sentence = f'Text "{echoed(text, _SHOWN_OF_TEXT)}" {clause}'
    return Problem(code="typographic", sentence=sentence, clause=clause)


def _typographic_clause(text: str) -> str:
    characters = echoed(" ".join(typographic_characters(text)), _SHOWN_OF_CHARACTERS)
    return f"has special characters which can be replaced: {characters}"


def _is_sound(file_name: str) -> bool:
    return _SOUND.fullmatch(_extension(file_name)) is not None


def _is_no_sound(file_name: str) -> bool:
    return _NO_SOUND.fullmatch(_extension(file_name)) is not None


def _extension(file_name: str) -> str:
    before, dot, extension = file_name.rpartition(".")
    return dot + extension if before else ""


def prepend_of(metadata: Any) -> Any:
    """What is to go out before the next message; None if there is nothing."""
    found = metadata.get(PREPEND) if isinstance(metadata, dict) else None
    return None if found == "" else found


def prepend_problems(
    prepend: Any, medium: Medium, *, text: str | None = None, limit: int = MAX_TEXT_LENGTH
) -> list[Problem]:
    """What keeps a prepend from going out before a text, or before a sound.

    ``text`` is that of the message that it goes out with; None: not known, so any may come.
    """
    if medium.is_audio:
        return [] if isinstance(prepend, str) and is_address(prepend) else [_NO_URL]
    if not isinstance(prepend, str):
        return [_NO_TEXT]
    if is_blank(prepend):
        return [_BLANK]
    found = []
    if typographic_characters(prepend):
        clause = _typographic_clause(prepend)
        found.append(Problem(code="typographic", sentence=f"{PREPEND} {clause}", clause=clause))
    has_text = text is not None and not is_blank(text)
    if medium.is_whatsapp and (text is None or has_text):
        found.append(_NEWLINE)
    elif medium.is_whatsapp and _NOT_IN_WHATSAPP.search(prepend):
        sentence = f"{PREPEND}: {_LAYOUT.sentence}"
        found.append(Problem(code="whatsapp", sentence=sentence, clause=_LAYOUT.clause))
    length = len(joined(prepend, text))
    if length > limit:
        found.append(_too_long_a_prepend(length, len(prepend), limit))
    return found


_NO_URL = Problem(
    code="no url",
    sentence=f"{PREPEND} must be the absolute http or https URL of a sound: the message set is of"
    " sounds.",
    clause="is not the URL of a sound",
)
_NO_TEXT = Problem(code="no text", sentence=f"{PREPEND} must be a text.", clause="is not a text")
_BLANK = Problem(code="blank", sentence=f"{PREPEND} may not be blank.", clause="is blank")
_NEWLINE = Problem(
    code="whatsapp",
    sentence=f"{PREPEND} cannot go out with a text for WhatsApp, which must not include the newline"
    " between them.",
    clause="would be set apart from the text by a newline, which WhatsApp does not take",
)


def _too_long_a_prepend(length: int, own_length: int, limit: int) -> Problem:
    if own_length > limit:
        return Problem(
            code="length",
            sentence=f"Ensure {PREPEND} has no more than {limit} characters.",
            clause=f"has {own_length} characters, more than {limit}",
        )
    room = max(limit - (length - own_length), 0)
    return Problem(
        code="length",
        sentence=f"Ensure {PREPEND} has no more than {room} characters: with the next message, at"
        f" most {limit} can be sent.",
        clause=f"and the message have {length} characters together, more than {limit}",
    )
