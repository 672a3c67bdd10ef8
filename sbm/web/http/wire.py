"""Values as they are written in requests and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from sbm.model.ids import LARGEST_ID
from sbm.model.json_text import JsonText
from sbm.runtime.time_slices import TimeSlice
from sbm.web.http.http_errors import NotFound


def _parsed(value: Any) -> Any:
    """The JSON value that stands for a value which the encoder does not know."""
    if isinstance(value, JsonText):
        return value.value
    raise TypeError(f"a {type(value).__name__} is no JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_parsed)

_ROW_ID = re.compile(r"0*[0-9]{1,10}")


def compact_json(value: Any) -> bytes:
    """JSON without blanks, in UTF-8; only characters that need it are escaped.

    Members of an object that are JsonText are handed on as they are.
    """
    if isinstance(value, dict) and any(isinstance(one, JsonText) for one in value.values()):
        return b"{%s}" % b",".join(_members(value))
    text = _ENCODER.encode(value)
    # A lone surrogate, which came from the client, has no UTF-8. Its backslash form is also its
    # JSON escape.
    return text.encode("utf-8", "backslashreplace")


def _members(value: Mapping[str, Any]) -> Iterator[bytes]:
    """The members of an object, between the braces; those between JsonTexts are encoded at once."""
    others: dict[str, Any] = {}
    for name, one in value.items():
        if not isinstance(one, JsonText):
            others[name] = one
            continue
        if others:
            yield compact_json(others)[1:-1]
            others = {}
        yield b"%s:%s" % (compact_json(name), one.text.encode())
    if others:
        yield compact_json(others)[1:-1]


async def written_in_slices(reactor: Any, values: Iterable[Any]) -> bytes:
    """The elements of a JSON array, written in slices: many at once would delay other requests."""
    slices = TimeSlice(reactor=reactor)
    written = []
    for value in values:
        written.append(compact_json(value))
        if slices.is_over:
            await slices.next_turn()
    return b",".join(written)


def row_id(text: str) -> int:
    """The integer id in a path, with or without leading zeros; raises NotFound if it is invalid."""
    if not _ROW_ID.fullmatch(text) or int(text) > LARGEST_ID:
        raise NotFound
    return int(text)


def uuid_of(text: str) -> UUID | None:
    """The UUID that Python reads here in any of its spellings, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None


def row_uuid(text: str) -> UUID:
    """The UUID in a path, in any spelling; raises NotFound if it is not a UUID."""
    found = uuid_of(text)
    if found is None:
        raise NotFound
    return found
