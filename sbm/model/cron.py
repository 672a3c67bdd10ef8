"""When a schedule is due: five cron fields, read in a time zone.

The search for the next and the previous match uses naive local times only: first it finds the day
in the calendar, then the time of the day. It looks for times only on days that match. Daylight
saving is applied to a local time afterwards, because a tick must neither be lost nor doubled on the
two days of the year on which the clock changes:

* A schedule that names its hours is due once for each local time that it names: at the first of the
  two moments in a repeated hour, and at the end of the gap if the clock jumps over it.
* A schedule of every hour is due whenever the local time matches, so that the distance between its
  ticks stays the same when the clock changes.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from attrs import asdict, field, frozen

# Increase it when the meaning of the fields changes, so that next ticks that were computed before
# are computed again. In v1, which was not recorded, one matching day field was enough.
RULE_VERSION = "v2"

# The lowest and highest number of each field, and how messages describe them.
_RANGES: Mapping[str, tuple[int, int, str]] = {
    "minute": (0, 59, "0 to 59"),
    "hour": (0, 23, "0 to 23"),
    "day_of_week": (0, 7, "1 (Monday) to 7 (Sunday, also written 0)"),
    "day_of_month": (1, 31, "1 to 31"),
    "month_of_year": (1, 12, "1 to 12"),
}

CRON_FIELDS = tuple(_RANGES)

# The order of the fields in the text of a cron, which is that of the Seed Scheduler as well.
_ORDER = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")

_TERM = re.compile(
    r"(?:(?P<star>\*)|(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?)(?:/(?P<step>[0-9]{1,9}))?"
)
_SUNDAY = 7
_DAYS_IN_WEEK = 7
_DAYS_IN_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# Each date that exists, even 29 February, falls on each day of the week within 40 years.
_YEARS = 50

# The message about a field that the Scheduler cannot store; the database knows which these are.
UNTOLD = (
    "The Scheduler cannot store this field: it accepts at most 64 characters, and a step after"
    ' a single number ("5/10") must be written with its end ("5-59/10"). Use fewer terms.'
)

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class CronError(ValueError):
    """Cron fields that cannot be read; ``problems`` has a message for each wrong field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in problems.items()))
        self.problems = dict(problems)


def tidy(text: str) -> str:
    """A field without blanks; there are databases with ``1 , 2`` or an empty text in a field."""
    return "".join(text.split()) or "*"


@frozen(kw_only=True)
class Cron:
    """The five fields of a schedule, each ``*`` by default; raises CronError if one is wrong.

    A day is due if day_of_month, month_of_year *and* day_of_week match: ``1-7`` and ``1`` is the
    first Monday of a month. (Vixie cron takes either of the days if both are restricted.)
    """

    minute: str = field(default="*", converter=tidy)
    hour: str = field(default="*", converter=tidy)
    day_of_week: str = field(default="*", converter=tidy)
    day_of_month: str = field(default="*", converter=tidy)
    month_of_year: str = field(default="*", converter=tidy)

    def __attrs_post_init__(self) -> None:
        problems = self.problems(asdict(self))
        if problems:
            raise CronError(problems)

    @classmethod
    def read(cls, **fields: str) -> Cron | None:
        """The cron of fields as they are stored, or None where they cannot be read."""
        try:
            return cls(**fields)
        except CronError:
            return None

    @classmethod
    def from_definition(cls, text: str) -> Cron:
        """Read a cron as the Scheduler writes it: minute, hour, day of month, month, day of week.

        There are blanks between the fields, and none within them. Raises CronError.
        """
        fields = text.split()
        if len(fields) != len(_ORDER):
            problem = f"Enter five fields with blanks between them, not {len(fields)}."
            raise CronError({"cron_definition": problem})
        return cls(**dict(zip(_ORDER, fields, strict=True)))

    @staticmethod
    def problems(fields: Mapping[str, str]) -> dict[str, str]:
        """A message for each of the given cron fields that is wrong; other names are ignored."""
        problems = {}
        for name, (_, _, described) in _RANGES.items():
            if name in fields and _terms(name, tidy(fields[name])) is None:
                problems[name] = (
                    f'Enter a valid cron field: "*", numbers from {described},'
                    " ranges and steps, separated by commas."
                )
        return problems

    def numbers(self, name: str) -> tuple[int, ...]:
        """The numbers that one of the fields means, in order; Sunday is 7."""
        return _numbers(name, getattr(self, name))

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first due moment later than ``moment``, in UTC; None if there is none for 50 years.

        Both are aware; ``zone`` is the time zone in which the fields are read.
        """
        local = _local(moment, zone)
        if self._every_hour:
            # Local times that have passed come again if the clock is about to be set back.
            local -= _put_back_between(moment, moment + _DAY, zone)
        best: datetime | None = None
        for reading in self._readings(local):
            moments = self._moments(reading, zone)
            if best is not None and moments and moments[0] >= best:
                break
            later = [each for each in moments if each > moment]
            if later and (best is None or later[0] < best):
                best = later[0]
        return best

    def latest_between(self, after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
        """The last due moment later than ``after`` and not later than ``until``, in UTC, or None.

        It searches backwards from ``until``, so its cost does not grow with the time between them.
        """
        # Later local times have already been there if the clock has just been set back.
        local = _local(until, zone) + _put_back_between(until - _DAY, until, zone)
        best: datetime | None = None
        for reading in self._readings(local + _SECOND, reverse=True):
            moments = self._moments(reading, zone)
            if best is not None and moments and moments[-1] <= best:
                break
            earlier = [each for each in moments if each <= until]
            if earlier and (best is None or earlier[-1] > best):
                best = earlier[-1]
        return best if best is not None and best > after else None

    def upcoming(self, moment: datetime, zone: tzinfo, *, count: int) -> list[datetime]:
        """The first ``count`` due moments after ``moment``, in UTC, or as many as there are."""
        found: list[datetime] = []
        following = self.next_after(moment, zone)
        while following is not None and len(found) < count:
            found.append(following)
            following = self.next_after(following, zone)
        return found

    @property
    def impossible_date(self) -> dict[str, str]:
        """A message for each of two fields that together name no date, such as 31 April.

        It is empty if there is such a date; 29 February is one. Each cron with a date is due at
        least once in 50 years.
        """
        first = min(_numbers("day_of_month", self.day_of_month))
        months = _numbers("month_of_year", self.month_of_year)
        if first <= max(_DAYS_IN_MONTH[month] for month in months):
            return {}
        message = (
            f"There is no such date: day_of_month {self.day_of_month} does not occur in"
            f" month_of_year {self.month_of_year}."
        )
        return {"day_of_month": message, "month_of_year": message}

    @property
    def restricts_both_days(self) -> bool:
        """Whether neither day_of_month nor day_of_week is ``*`` (or ``*/1``)."""
        return all(
            not text.startswith("*") or len(_numbers(name, text)) < most
            for name, text, most in (
                ("day_of_month", self.day_of_month, max(_DAYS_IN_MONTH)),
                ("day_of_week", self.day_of_week, _DAYS_IN_WEEK),
            )
        )

    @property
    def took_either_day(self) -> bool:
        """Whether one matching day field was enough by the earlier rule, which is Vixie cron's."""
        return not (self.day_of_month.startswith("*") or self.day_of_week.startswith("*"))

    @property
    def _every_hour(self) -> bool:
        return len(_numbers("hour", self.hour)) == 24

    def _readings(self, local: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Local times that match, after ``local``; with ``reverse``, backwards from before it."""
        step = -1 if reverse else 1
        hours = _numbers("hour", self.hour)[::step]
        minutes = _numbers("minute", self.minute)[::step]
        for day in self._days(local.date(), step):
            for hour in hours:
                if day == local.date() and hour * step < local.hour * step:
                    continue
                for minute in minutes:
                    reading = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
                    if reading < local if reverse else reading > local:
                        yield reading

    def _days(self, first: date, step: int) -> Iterator[date]:
        """The days that match, from ``first`` on, forwards or, with a ``step`` of -1, backwards."""
        days = _numbers("day_of_month", self.day_of_month)[::step]
        months = _numbers("month_of_year", self.month_of_year)[::step]
        week = frozenset(_numbers("day_of_week", self.day_of_week))
        for year in range(first.year, first.year + step * (_YEARS + 1), step):
            if not MINYEAR <= year <= MAXYEAR:
                return
            for month in months:
                if year == first.year and month * step < first.month * step:
                    continue
                is_first = (year, month) == (first.year, first.month)
                weekday_of_first, length = monthrange(year, month)
                for day in days:
                    if day > length or (is_first and day * step < first.day * step):
                        continue
                    if (weekday_of_first + day - 1) % _DAYS_IN_WEEK + 1 in week:
                        yield date(year, month, day)

    def _moments(self, reading: datetime, zone: tzinfo) -> list[datetime]:
        """The moments, in order, at which the schedule is due for this local time."""
        first, second = (
            reading.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)
        )
        if first > second:
            return [] if self._every_hour else [_end_of_gap(second, first, zone)]
        if first < second and self._every_hour:
            return [first, second]
        return [first]


def _terms(name: str, text: str) -> list[range] | None:
    """What the comma-separated terms of a field mean, or None if it cannot be read."""
    low, high, _ = _RANGES[name]
    terms: list[range] = []
    for part in text.split(","):
        match = _TERM.fullmatch(part)
        if match is None:
            return None
        step = int(match["step"] or 1)
        first = low if match["star"] else int(match["first"])
        # As in cron, a step after a single number continues to the end of the range.
        open_ended = match["star"] or (match["step"] and not match["last"])
        last = high if open_ended else int(match["last"] or first)
        if not (low <= first <= last <= high and step > 0):
            return None
        terms.append(range(first, last + 1, step))
    return terms


@lru_cache(maxsize=1024)
def _numbers(name: str, text: str) -> tuple[int, ...]:
    """The numbers that a valid field means, in order; Sunday is 7."""
    found = {number for term in _terms(name, text) or () for number in term}
    if name == "day_of_week" and 0 in found:
        found = (found - {0}) | {_SUNDAY}
    return tuple(sorted(found))


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """The local time at ``moment``, to the second."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(zone).replace(microsecond=0, tzinfo=None, fold=0)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _put_back_between(earlier: datetime, later: datetime, zone: tzinfo) -> timedelta:
    """By how much the clock is set back between two moments (zero if it is set forward)."""
    return max(_offset(earlier, zone) - _offset(later, zone), timedelta(0))


def _end_of_gap(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second at which the clock jumps, found by halving the time between two moments."""
    offset = _offset(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if _offset(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after
