"""JSON as the database writes it: most of it is handed on, and never parsed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from attrs import frozen


@frozen
class JsonText:
    """A JSON value as text; ``value`` parses it."""

    text: str

    @classmethod
    def of(cls, given: Any) -> JsonText:
        """The text of a value that was parsed; a JsonText is returned as it is."""
        return given if isinstance(given, JsonText) else cls(json.dumps(given, ensure_ascii=False))

    @cached_property
    def value(self) -> Any:
        """The value; it may be shared, and must not be changed."""
        return json.loads(self.text)

    def says(self, given: Any) -> bool:
        """Whether it is this value: 1 and 1.0 are the same number, and true is no number.

        A client cannot give a value that Python cannot read.
        """
        try:
            return _is_same(given, self.value)
        except (ValueError, RecursionError):
            return False

    def member(self, name: str) -> Any:
        """The member of an object with this name; None if there is none.

        It must be a name without a character that JSON escapes. Only an object with such a name
        somewhere in it is parsed.
        """
        if not self.text.startswith("{") or f'"{name}"' not in self.text:
            return None
        return self.value.get(name)

    def members_but(self, names: Iterable[str]) -> str:
        """The members of an object, without its braces and without those that have these names.

        It is empty for any other value. Only an object with such a name somewhere in it is parsed.
        """
        if not self.text.startswith("{"):
            return ""
        if not any(f'"{name}"' in self.text for name in names):
            return self.text[1:-1]
        kept = {name: value for name, value in self.value.items() if name not in names}
        return json.dumps(kept, ensure_ascii=False)[1:-1]


def _is_same(given: Any, other: Any) -> bool:
    if isinstance(given, dict) and isinstance(other, dict):
        return given.keys() == other.keys() and all(
            _is_same(value, other[name]) for name, value in given.items()
        )
    if isinstance(given, list) and isinstance(other, list):
        return len(given) == len(other) and all(map(_is_same, given, other))
    return isinstance(given, bool) == isinstance(other, bool) and bool(given == other)


def json_text(given: JsonText | str) -> JsonText:
    """The text, as a converter of a model's field."""
    return given if isinstance(given, JsonText) else JsonText(given)


def json_text_or_none(given: JsonText | str | None) -> JsonText | None:
    """The text, or None for a column without a value."""
    return None if given is None else json_text(given)
