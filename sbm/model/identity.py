"""The spellings of an identity, by which the Identity Store knows a person."""

from __future__ import annotations

import re

_UUID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")


def canonical_uuid(text: str) -> str | None:
    """A UUID in lower case with its dashes; None if the text is not a UUID."""
    match = _UUID.fullmatch(text.lower())
    return "-".join(match.groups()) if match else None


def spellings(identity: str) -> tuple[str, ...]:
    """The identity as it was given, and of a UUID, each way in which an imported row may have it.

    A UUID has capitals or none, and dashes or none. Any other identity has one spelling.
    """
    usual = canonical_uuid(identity)
    if usual is None:
        return (identity,)
    plain = usual.replace("-", "")
    return tuple(dict.fromkeys((usual, usual.upper(), plain, plain.upper(), identity)))
