"""The time zone in which the fields of a schedule are read."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import Cron

# Files and folders that are next to the time zones of a machine, but are no zones. Their content
# depends on the machine (localtime, posixrules), is no place (Factory), counts leap seconds
# (right), or repeats the others (posix).
_NO_ZONES = frozenset({"factory", "localtime", "posix", "posixrules", "right"})


def find_time_zone(name: str) -> ZoneInfo | None:
    """The time zone with this IANA name; None if this machine does not know it."""
    first, _, _ = name.casefold().partition("/")
    if first in _NO_ZONES:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return None  # besides unknown names: folders (Europe) and paths (/etc/localtime)


@frozen(kw_only=True)
class ZonedCron:
    """A cron, and the time zone in which its fields are read."""

    cron: Cron
    time_zone: ZoneInfo

    def next_after(self, moment: datetime) -> datetime | None:
        """The next moment when it is due; None: it never is."""
        return self.cron.next_after(moment, self.time_zone)


@frozen(kw_only=True)
class TimeZones:
    """The rule that says which time zone a schedule has.

    ``default`` is that of schedules without one. If a Scheduler makes the ticks, ``scheduler`` is
    its time zone. It counts instead of any other that a schedule has, because the Scheduler reads
    all crons in its own.
    """

    default: ZoneInfo
    scheduler: ZoneInfo | None = None

    def of(self, name: str | None) -> ZoneInfo | None:
        """The time zone of a schedule with this stored name; None: this machine does not know it.

        The default and the Scheduler's are always known.
        """
        if name is None:
            return self.default
        return self.scheduler or find_time_zone(name)

    def disregards(self, name: str | None) -> bool:
        """Whether a schedule has a time zone that does not count, because of the Scheduler."""
        return self.scheduler is not None and name not in (None, self.scheduler.key)
