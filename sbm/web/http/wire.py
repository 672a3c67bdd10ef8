"""Values as they are written in requests and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sbm.model.ids import LARGEST_ID
from sbm.runtime.time_slices import TimeSlice
from sbm.web.http.http_errors import NotFound

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)

_ROW_ID = re.compile(r"0*[0-9]{1,10}")


def compact_json(value: Any) -> bytes:
    """JSON without blanks, in UTF-8; only characters that need it are escaped."""
    text = _ENCODER.encode(value)
    # A lone surrogate, which came from the client, has no UTF-8. Its backslash form is also its
    # JSON escape.
    return text.encode("utf-8", "backslashreplace")


async def written_in_slices(reactor: Any, values: Iterable[Any]) -> bytes:
    """A JSON array, written in slices: a thousand rows at once would delay all other requests."""
    slices = TimeSlice(reactor=reactor)
    written = []
    for value in values:
        written.append(compact_json(value))
        if slices.is_over:
            await slices.next_turn()
    return b"[%s]" % b",".join(written)


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
