"""The crons of the Scheduler's stand-in: the syntax of celery 3.1, and rows without a key."""

from __future__ import annotations

import re
from datetime import datetime

from attrs import define, field, frozen

# The lowest and highest number of each field, in the order of the text.
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TERM = re.compile(r"(?:\*|([0-9]+)-([0-9]+))(?:/([0-9]+))?|([0-9]+)", re.ASCII)


@frozen(kw_only=True)
class CeleryCron:
    """The times at which the Scheduler fires a cron: all five fields must match.

    The Scheduler knows stars, numbers, ranges, steps of stars and of ranges, and lists of these;
    Sunday is 0. It accepts everything else (7, a step after a single number), but never fires it.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def read(cls, definition: str) -> CeleryCron | None:
        """The cron of a definition; None if it never fires."""
        texts = definition.split()
        if len(texts) != len(_RANGES):
            return None
        fields = [_numbers(text, *limits) for text, limits in zip(texts, _RANGES, strict=True)]
        if not all(fields):
            return None
        minutes, hours, days, months, weekdays = fields
        return cls(minutes=minutes, hours=hours, days=days, months=months, weekdays=weekdays)

    @property
    def is_endless(self) -> bool:
        """Whether its dates do not exist, so that the search for the next one never ends."""
        longest = max(_DAYS_IN_MONTH[month - 1] for month in self.months)
        return min(self.days) > longest

    def is_due(self, moment: datetime) -> bool:
        """Whether it fires in this minute; the moment is a local time of the Scheduler."""
        return (
            moment.minute in self.minutes
            and moment.hour in self.hours
            and moment.day in self.days
            and moment.month in self.months
            and moment.isoweekday() % 7 in self.weekdays
        )


@define(eq=False, kw_only=True)
class CronRows:
    """The number of rows for each cron. A row is found by its text, which need not be unique.

    Rows are never deleted. If a row names a date that does not exist, no cron fires any more: the
    process that looks for the next one to be due never finishes.
    """

    _counts: dict[str, int] = field(factory=dict)

    def count(self, definition: str) -> int:
        """The number of rows for a cron; with two or more, each use of that cron fails."""
        return self._counts.get(_key(definition), 0)

    def add(self, definition: str) -> None:
        """Add a row, even if there is one."""
        self._counts[_key(definition)] = self.count(definition) + 1

    @property
    def is_hung(self) -> bool:
        """Whether no cron fires any more."""
        crons = (CeleryCron.read(definition) for definition in self._counts)
        return any(cron is not None and cron.is_endless for cron in crons)


def _key(definition: str) -> str:
    return " ".join(definition.split())


def _numbers(text: str, low: int, high: int) -> frozenset[int]:
    """The numbers that a field names; none if it cannot be read."""
    found: set[int] = set()
    for part in text.split(","):
        match = _TERM.fullmatch(part)
        if match is None:
            return frozenset()
        first, last, step, single = match.groups()
        if single is not None:
            first = last = single
        begin, end = int(first or low), int(last or high)
        if not (low <= begin <= end <= high) or int(step or 1) < 1:
            return frozenset()
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(found)
