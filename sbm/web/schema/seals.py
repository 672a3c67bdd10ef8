"""Cursors: each belongs to a list and its filters, and notices if it was changed."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

from sbm.web.http.api_request import ApiRequest
from sbm.web.http.http_errors import Malformed
from sbm.web.schema.filters import Filter

INVALID = "Invalid cursor: it was changed, or is one of another list."

_LONGEST = 512
_SEAL_BYTES = 9
# Each cursor has a direction and a key of two columns or more, or an offset, a count and an id.
_FEWEST = 3

# What is in a cursor of the service that this one replaces.
_OLD_CURSOR = re.compile(rb"[opr]=[ -~]*")


def bound_to(name: str, filters: Sequence[Filter], request: ApiRequest) -> list[Any]:
    """What a cursor belongs to: a list and its filters."""
    return [name, [[one.name, request.query.get(one.name) or None] for one in filters]]


def sealed(contents: list[Any], bound: list[Any]) -> str:
    """A cursor with these contents, for the list and the filters in ``bound``."""
    payload = json.dumps(contents, separators=(",", ":")).encode("ascii")
    told = urlsafe_b64encode(_seal(payload, bound) + payload)
    return told.decode("ascii").rstrip("=")


def unsealed(cursor: str, bound: list[Any]) -> list[Any]:
    """The contents of a cursor, as a list; raises Malformed."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError("too long for a cursor")
        told = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        seal, payload = told[:_SEAL_BYTES], told[_SEAL_BYTES:]
        if seal != _seal(payload, bound):
            raise ValueError("not sealed for this list")
        contents = json.loads(payload)
        if not isinstance(contents, list) or len(contents) < _FEWEST:
            raise ValueError("not the contents of a cursor")
        return contents
    except (ValueError, TypeError, RecursionError):
        raise Malformed(INVALID, kind="cursor") from None


def _seal(payload: bytes, bound: list[Any]) -> bytes:
    """A digest that belongs to a list and its filters, and to the rest of the cursor.

    It is not a secret: it detects mistakes. A forged one shows no more than an offset does.
    """
    told = json.dumps(bound).encode("ascii")
    return hashlib.sha256(told + b"\n" + payload).digest()[:_SEAL_BYTES]


def is_old(cursor: str) -> bool:
    """Whether this is a cursor of the replaced service: its clients begin at the first page."""
    try:
        contents = b64decode(cursor.encode("ascii"))
    except ValueError:
        return False
    return _OLD_CURSOR.fullmatch(contents) is not None
