"""Schedules that cannot be read as they are in the old service: what is made of them."""

from __future__ import annotations

import re

from sbm.model.cron import Cron, CronError

FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
_NAMES = {
    "day_of_week": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
    "month_of_year": (
        *("", "jan", "feb", "mar", "apr", "may", "jun"),
        *("jul", "aug", "sep", "oct", "nov", "dec"),
    ),
}

# The first and last number of each field, between which the old service's ranges went round.
_ENDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_week": (0, 6),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
}
_LONGEST = 64

# A day that no year has. What refers to the schedule stays, and nobody is sent anything by it.
NEVER = {
    "minute": "0",
    "hour": "0",
    "day_of_week": "*",
    "day_of_month": "31",
    "month_of_year": "2",
}


def mended(fields: dict[str, str]) -> tuple[dict[str, str], str] | None:
    """Fields that can be read, and why they are others; None where they can be as they are."""
    try:
        cron = Cron(**fields)
    except CronError:
        return _numbered(fields)
    tidy = {name: getattr(cron, name) for name in FIELDS}
    return None if tidy == fields else (tidy, "blanks in its fields are left out")


def _numbered(fields: dict[str, str]) -> tuple[dict[str, str], str]:
    """Fields without names and ranges that go round; if that does not make it a cron, never."""
    numbered = fields | {name: _as_numbers(fields[name], _NAMES[name]) for name in _NAMES}
    straight = {name: _straightened(text, *_ENDS[name]) for name, text in numbered.items()}
    try:
        Cron(**straight)
    except CronError as error:
        wrong = ", ".join(f"{name} {fields[name]!r}" for name in sorted(error.problems))
        return NEVER, f"it cannot be read, and is never due until it is changed: {wrong}"
    if straight != numbered:
        return straight, "a range that goes round the end, such as 22-2, is written as two"
    return numbered, "names of days and months are numbers"


def _straightened(text: str, low: int, high: int) -> str:
    """A range that goes round the end as two; what would not fit then is left as it was."""

    def straight(match: re.Match[str]) -> str:
        first, last = map(int, match.groups())
        return match[0] if first <= last else f"{first}-{high},{low}-{last}"

    told = re.sub(r"(?<![^,])([0-9]{1,2})-([0-9]{1,2})(?![^,])", straight, text)
    return told if len(told) <= _LONGEST else text


def _as_numbers(text: str, names: tuple[str, ...]) -> str:
    def number(match: re.Match[str]) -> str:
        name = match[0][:3].lower()
        return str(names.index(name)) if name in names else match[0]

    return re.sub(r"[A-Za-z]{3,}", number, text)
