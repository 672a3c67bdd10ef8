"""The rules for what can be sent: checked when content is written, and again before a POST.

Content, and the settings under which it is sent, can be written in many places: messages, message
sets, files, the metadata of subscriptions, the import, and operators' commands. All use these
rules.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import frozen

from sbm.model.echo import echoed
from sbm.model.json_text import JsonText

# The longest text that the Message Sender accepts, in code points, unless it is set otherwise.
MAX_TEXT_LENGTH = 1000

PREPEND = "prepend_next_delivery"

ProblemCode = Literal[
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

# Together they are at most as long as what other errors quote.
_SHOWN_OF_TEXT = 150
_SHOWN_OF_CHARACTERS = 50

# Telephones that support only GSM 03.38 show these as boxes. Each has a plain form.
_TYPOGRAPHIC = re.compile("[“”’–]")

# WhatsApp refuses these in the parameters of a template.
_NOT_IN_WHATSAPP = re.compile(r"\n|\t|\s{4}")

# Characters that are invisible although Unicode counts them as letters, marks or symbols, or that
# are reserved for such characters (Default_Ignorable_Code_Point).
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
# Files with these names are surely not sounds. A file with any other name may be a sound.
_NO_SOUND = re.compile(
    r"\.(avif|bmp|csv|docx?|gif|hei[cf]|html?|ico|jfif|jpe?g?|json|pdf|png|svg|tiff?|txt|webp|xlsx?"
    r"|xml|zip)",
    re.IGNORECASE,
)

_VISIBLE_ASCII = re.compile("[!-~]")
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f\\]")


@frozen(kw_only=True)
class Medium:
    """How the messages of a set are sent."""

    content_type: str
    channel: str | None

    @property
    def is_audio(self) -> bool:
        return self.content_type == "audio"

    @property
    def is_whatsapp(self) -> bool:
        """Whether the name of the channel says that texts are sent by WhatsApp."""
        return "whatsapp" in (self.channel or "").lower()


@frozen(kw_only=True)
class Content:
    """What a message contains, and how it is sent; ``file_name`` is the name of the stored file."""

    text: str | None
    file_name: str | None
    medium: Medium


@frozen(kw_only=True)
class PlacedContent:
    """The content of a message, and its place in a message set."""

    id: int
    messageset_id: int
    messageset: str
    sequence_number: int
    lang: str
    content: Content

    def told(self, problem: Problem) -> str:
        """A sentence that names the message and the problem."""
        return f"Message {self.sequence_number} in {self.lang} (id {self.id}) {problem.clause}."


@frozen(kw_only=True)
class Problem:
    """Why something cannot be sent.

    ``sentence`` is for the client that wrote the value; ``clause`` is the rest of a sentence that
    begins with the name of the message or prepend.
    """

    code: ProblemCode
    sentence: str
    clause: str


def is_blank(text: str | None) -> bool:
    """Whether a text is empty, or has only blanks and characters of no width."""
    if text and _VISIBLE_ASCII.search(text):  # as nearly every text
        return False
    return all(
        character.isspace()
        or unicodedata.category(character) in _INVISIBLE_CATEGORIES
        or _INVISIBLE.match(character)
        for character in set(text or "")  # a body may repeat one character a million times
    )


def is_address(text: str) -> bool:
    """Whether this is an absolute http or https URL."""
    if _BLANK_OR_CONTROL.search(text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed [, or a port that is not a number
        return False


def joined(prepend: str | None, text: str | None) -> str:
    """The content of an outbound: the prepend is on a line of its own."""
    return "\n".join(part for part in (prepend, text) if part is not None and not is_blank(part))


def typographic_characters(text: str) -> list[str]:
    """The characters that must be replaced by their plain form, in order.

    These are only the first ones, at least as many as are shown.
    """
    found = islice(_TYPOGRAPHIC.finditer(text), _SHOWN_OF_CHARACTERS)
    return [one[0] for one in found]


def content_problems(content: Content, *, limit: int = MAX_TEXT_LENGTH) -> list[Problem]:
    """Why a message cannot be sent, whatever its prepend is.

    The text of a message in an audio message set is not sent, and so not checked.
    """
    files = _file_problems(content)
    if content.medium.is_audio:
        return files
    return files + _text_problems(content.text, content.medium, limit)


def new_problems(
    before: Content | None, after: Content, *, limit: int = MAX_TEXT_LENGTH
) -> list[Problem]:
    """The problems that a message has as it is written, and did not have before.

    A new text must keep all rules. A text that does not change (blanks around it are ignored) must
    only not break further rules because of what changes around it.
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


_FILE_CODES: frozenset[ProblemCode] = frozenset({"empty", "no audio", "only audio"})


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
    """Whether a message of a text message set has only a sound.

    The old service accepts such a message, and so does the Message Sender. It is refused only if
    an audio message set becomes a text message set.
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
    clause="has audio and no text, and its message set is a text message set",
)
_LAYOUT = Problem(
    code="whatsapp",
    sentence="Text for WhatsApp must not include newline, tabs, or 4 consecutive spaces.",
    clause="has a newline, a tab or 4 consecutive spaces, which WhatsApp does not accept",
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
    """The prepend in the metadata of a subscription, parsed or not; None if there is none."""
    if isinstance(metadata, JsonText):
        found = metadata.member(PREPEND)
    else:
        found = metadata.get(PREPEND) if isinstance(metadata, dict) else None
    return None if found == "" else found


def prepend_problems(
    prepend: Any, medium: Medium, *, text: str | None = None, limit: int = MAX_TEXT_LENGTH
) -> list[Problem]:
    """Why a prepend cannot be sent before a text, or before a sound.

    ``text`` is the text of the message that it is sent with. None means that the message is not
    known, so that it may have any text.
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
    sentence=f"{PREPEND} must be the absolute http or https URL of a sound: the message set is an"
    " audio message set.",
    clause="is not the URL of a sound",
)
_NO_TEXT = Problem(code="no text", sentence=f"{PREPEND} must be a text.", clause="is not a text")
_BLANK = Problem(code="blank", sentence=f"{PREPEND} may not be blank.", clause="is blank")
_NEWLINE = Problem(
    code="whatsapp",
    sentence=f"{PREPEND} cannot be sent with a text for WhatsApp, which must not include the"
    " newline between them.",
    clause="would be separated from the text by a newline, which WhatsApp does not accept",
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
