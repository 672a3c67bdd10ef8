"""How a text goes out by SMS: its encoding, and how many short messages it takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import smsutil
from attrs import frozen
from smsutil.codecs import GSM_CHARSET, GSM_EXT_CHARSET

Encoding = Literal["GSM-7", "UCS-2"]

# How many units one short message has room for, if it is the only one, and if it is one of several.
# Most characters take one unit; some take two.
_ROOM: dict[Encoding, tuple[int, int]] = {"GSM-7": (160, 153), "UCS-2": (70, 67)}

_PLAIN = frozenset(GSM_CHARSET)


@frozen(kw_only=True)
class SmsCount:
    """The size of a text by SMS.

    ``characters`` are those that a person counts, and ``left`` is how many plain ones still fit
    without a further short message. ``forcing`` are the characters, each once, because of which
    it is not sent in GSM 03.38, with room for 160.
    """

    characters: int
    encoding: Encoding
    parts: int
    left: int
    forcing: tuple[str, ...] = ()


@lru_cache(maxsize=4096)  # a grid of a set counts the same texts at each visit
def counted(text: str) -> SmsCount:
    """How this text goes out."""
    forcing = tuple(dict.fromkeys(one for one in text if one not in _PLAIN))
    encoding: Encoding = "UCS-2" if forcing else "GSM-7"
    alone, together = _ROOM[encoding]
    if not text:
        return SmsCount(characters=0, encoding=encoding, parts=0, left=alone)
    pieces = smsutil.split(text).parts
    parts = len(pieces)
    last = sum(_units(one, encoding) for one in pieces[-1].content)
    return SmsCount(
        characters=len(text),
        encoding=encoding,
        parts=parts,
        left=(alone if parts == 1 else together) - last,
        forcing=forcing,
    )


def _units(character: str, encoding: Encoding) -> int:
    if encoding == "GSM-7":
        return 2 if character in GSM_EXT_CHARSET else 1
    return 2 if ord(character) > 0xFFFF else 1
