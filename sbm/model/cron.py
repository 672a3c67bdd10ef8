"""When a schedule is due: five cron fields, read in a time zone.

The search for the next and the previous match is ``cronsim``'s, on the face of the clock alone:
it is handed naive local times. What daylight saving makes of a local time is decided here, because
a tick must neither be lost nor doubled on the two odd days of the year:

* A schedule that names its hours is due once for each local time that it names: at the first of the
  two moments in a repeated hour, and at the end of the gap if the clock jumps over it.
* A schedule of every hour is due whenever the clock on the wall reads a matching time, so its
  ticks keep their distance while the hands are moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo

from attrs import asdict, field, frozen
from cronsim import CronSim, CronSimError

# The lowest and highest number of each field, and how a person is told.
_RANGES: Mapping[str, tuple[int, int, str]] = {
    "minute": (0, 59, "0 to 59"),
    "hour": (0, 23, "0 to 23"),
    "day_of_week": (0, 7, "1 (Monday) to 7 (Sunday, also written 0)"),
    "day_of_month": (1, 31, "1 to 31"),
    "month_of_year": (1, 12, "1 to 12"),
}

# The order of the fields in the text of a cron, which is that of the Seed Scheduler as well.
_ORDER = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")

_TERM = re.compile(
    r"(?:(?P<star>\*)|(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?)(?:/(?P<step>[0-9]{1,9}))?"
)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class CronError(ValueError):
    """Cron fields that cannot be read; ``problems`` has a message for each field at fault."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in problems.items()))
        self.problems = dict(problems)


def _tidy(text: str) -> str:
    """A field without blanks; rows with ``1 , 2`` or nothing at all are found in the field."""
    return "".join(text.split()) or "*"


@frozen(kw_only=True)
class Cron:
    """The five fields of a schedule, each ``*`` by default, raising CronError if one is wrong.

    As in Vixie cron, a day is due if day_of_month *or* day_of_week matches when both are
    restricted; if one of them starts with ``*``, both must match.
    """

    minute: str = field(default="*", converter=_tidy)
    hour: str = field(default="*", converter=_tidy)
    day_of_week: str = field(default="*", converter=_tidy)
    day_of_month: str = field(default="*", converter=_tidy)
    month_of_year: str = field(default="*", converter=_tidy)

    def __attrs_post_init__(self) -> None:
        problems = self.problems(asdict(self))
        if problems:
            raise CronError(problems)

    @classmethod
    def from_definition(cls, text: str) -> Cron:
        """Read a cron as the Scheduler has it: minute, hour, day of month, month, day of week.

        Blanks stand between the fields, and not within them. Raises CronError.
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
        for name, (_, _, told) in _RANGES.items():
            if name in fields and _terms(name, _tidy(fields[name])) is None:
                problems[name] = (
                    f'Enter a valid cron field: "*", numbers from {told},'
                    " ranges and steps, separated by commas."
                )
        return problems

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first due moment later than ``moment``, in UTC; None if there is none for 50 years.

        Both are aware; ``zone`` is the time zone in which the fields are read.
        """
        local = _local(moment, zone)
        if self._every_hour:
            # Readings that have passed come again if the clock is about to be put back.
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

        One search backwards from ``until``: its cost does not grow with the time between.
        """
        # Readings yet to come were already seen if the clock has just been put back.
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

    @property
    def _every_hour(self) -> bool:
        return set(_numbers("hour", self.hour)) == set(range(24))

    def _readings(self, local: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Local times that match, strictly after ``local``, or strictly before it, backwards."""
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        minute, hour, day, month, weekday = (_plain(name, getattr(self, name)) for name in names)
        try:
            return CronSim(f"{minute} {hour} {day} {month} {weekday}", local, reverse=reverse)
        except CronSimError:
            # The fields are known to be valid: they name a day that none of the months has.
            if day.startswith("*") or weekday.startswith("*"):
                return iter(())
            # The day of the week is left to match (cronsim before 2.8 does not see that).
            return CronSim(f"{minute} {hour} * {month} {weekday}", local, reverse=reverse)

    def _moments(self, reading: datetime, zone: tzinfo) -> list[datetime]:
        """The moments, in order, at which the schedule is due for this reading of the clock."""
        first, second = (
            reading.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1)
        )
        if first > second:
            return [] if self._every_hour else [_end_of_gap(second, first, zone)]
        if first < second and self._every_hour:
            return [first, second]
        return [first]


def _terms(name: str, text: str) -> list[range | str] | None:
    """The comma-separated terms of a field: numbers, or text that starts with ``*``; or None."""
    low, high, _ = _RANGES[name]
    terms: list[range | str] = []
    for part in text.split(","):
        match = _TERM.fullmatch(part)
        if match is None:
            return None
        step = int(match["step"] or 1)
        first = low if match["star"] else int(match["first"])
        # As in cron, a step after a single number counts on to the end of the range.
        open_ended = match["star"] or (match["step"] and not match["last"])
        last = high if open_ended else int(match["last"] or first)
        if not (low <= first <= last <= high and step > 0):
            return None
        terms.append(part if match["star"] else range(first, last + 1, step))
    return terms


def _plain(name: str, text: str) -> str:
    """The field as ``cronsim`` is told: ranges spelt out (it reads 5-5/2 as 5/2), stars kept."""
    terms = _terms(name, text) or []
    return ",".join(
        term if isinstance(term, str) else ",".join(str(number) for number in term)
        for term in terms
    )


def _numbers(name: str, text: str) -> Iterator[int]:
    low, high, _ = _RANGES[name]
    for term in _terms(name, text) or []:
        if isinstance(term, str):
            yield from range(low, high + 1, int(term.partition("/")[2] or 1))
        else:
            yield from term


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """What the clock on the wall reads at ``moment``, to the second."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(zone).replace(microsecond=0, tzinfo=None, fold=0)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _put_back_between(earlier: datetime, later: datetime, zone: tzinfo) -> timedelta:
    """By how much the clock is put back between two moments (zero if it is put forward)."""
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
