"""Texts and JSON in which a mark takes the place of a person."""

from __future__ import annotations

import json
from typing import Any


def without(value: Any, needles: list[str], mark: str, *, is_top: bool = True) -> Any:
    """JSON without what tells of a person: the mark takes its place.

    An object inside of it that names the person is about the person, so nothing of it stays.
    """
    if isinstance(value, str):
        return mark if _tells(value, needles) else value
    if isinstance(value, list):
        return [without(one, needles, mark, is_top=False) for one in value]
    if isinstance(value, dict):
        told = [*value, *(one for one in value.values() if isinstance(one, str))]
        if not is_top and any(_tells(one, needles) for one in told):
            return {"person": mark}
        return {
            mark if _tells(name, needles) else name: without(one, needles, mark, is_top=False)
            for name, one in value.items()
        }
    return value


def without_in_text(text: str, needles: list[str], mark: str) -> str:
    """A sentence, or the mark in place of all of it if it tells of a person."""
    return mark if _tells(text, needles) else text


def _tells(text: str, needles: list[str]) -> bool:
    """Whether a text tells of the person, as the database looks for it."""
    written = json.dumps(text, ensure_ascii=False).lower()
    return any(needle in written for needle in needles)
