"""Finds the due moment of a call of the Seed Scheduler, and the earlier call that it repeats.

The Scheduler repeats a call that was not answered, up to 23 minutes later, and gives it no key. So
calls are distinguished by the moments at which they were due.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import evolve, frozen

from sbm.model.cron import Cron, CronError

# How long after a call its moment may be: the Scheduler's clock may be wrong by so much.
AHEAD = timedelta(minutes=2)

_MINUTE = timedelta(minutes=1)


@frozen(kw_only=True)
class Target:
    """The subscription or schedule that a call of the Scheduler is for."""

    kind: Literal["subscription", "schedule"]
    id: UUID | int


@frozen(kw_only=True)
class Crons:
    """The cron that the Scheduler holds for a target, and the one that it should hold now.

    Each is None if there is none. ``now`` is the time of the database's clock.
    """

    told: str | None
    wanted: str | None
    now: datetime

    @property
    def definition(self) -> str | None:
        """The cron that the Scheduler uses, as far as we know."""
        return self.wanted if self.told is None else self.told


@frozen(kw_only=True)
class RecordedCall:
    """A call that was answered: when it came, its moment, and its answer.

    If a call fits no moment, its moment is the time at which it came. ``is_misdated`` says that its
    moment was computed from a wrong clock.
    """

    moment: datetime
    came_at: datetime
    status: int
    body: bytes
    is_misdated: bool = False

    def dated(self, definition: str | None, *, zone: ZoneInfo, back: timedelta) -> RecordedCall:
        """The call with its moment by the present clock; parameters as in ``nearest_moment``."""
        if not self.is_misdated:
            return self
        moment = nearest_moment(definition, zone=zone, now=self.came_at, back=back)
        return evolve(self, moment=self.came_at if moment is None else moment, is_misdated=False)


def nearest_moment(
    definition: str | None, *, zone: ZoneInfo, now: datetime, back: timedelta
) -> datetime | None:
    """The due moment that a call at ``now`` belongs to; None if it fits none.

    It is the nearest moment of the cron, which is read in ``zone``. It is at most ``back`` before
    the call, or at most AHEAD after it.
    """
    if definition is None:
        return None
    minute = now.replace(second=0, microsecond=0)
    before, after = _moments_around(definition, zone, minute, max(back, AHEAD) + _MINUTE)
    if before is not None and (after is None or now - before <= after - now):
        return before if now - before <= back else None
    return after if after is not None and after - now <= AHEAD else None


def kept(within: timedelta) -> timedelta:
    """How old a recorded call can be when another call repeats it.

    The calls for a moment come from AHEAD before it until ``within`` after it. The rest is for
    transactions that wait for each other.
    """
    return within + 2 * AHEAD


def find_repeated(
    calls: Iterable[RecordedCall], *, moment: datetime | None, now: datetime, within: timedelta
) -> RecordedCall | None:
    """The recorded call that a call at ``now`` repeats; None if it is a new one.

    ``calls`` are the calls for its target, and ``moment`` is its own moment. A call that fits no
    moment repeats the last call that came less than ``within`` ago. A call that fits a moment
    repeats the call of that moment. There is one exception: if a call that came less than
    ``within`` ago has a nearer moment, it repeats that one. Then the cron has changed since, or
    that call fitted no moment.
    """
    young = [call for call in calls if now - call.came_at < within]
    if moment is None:
        return max(young, key=lambda call: call.came_at, default=None)
    own = [call for call in calls if call.moment == moment]
    distance = abs(moment - now)
    nearer = [call for call in young if abs(call.moment - now) < distance]
    return min(own + nearer, key=lambda call: abs(call.moment - now), default=None)


@lru_cache(maxsize=1024)
def _moments_around(
    definition: str, zone: ZoneInfo, minute: datetime, reach: timedelta
) -> tuple[datetime | None, datetime | None]:
    """The last moment up to ``minute``, at most ``reach`` before it, and the first one after it.

    Moments are whole minutes, so the result is the same for each second of this minute. The results
    are kept because many calls come in one minute, and most have the same cron.
    """
    try:
        cron = Cron.from_definition(definition)
    except CronError:
        return None, None
    return cron.latest_between(minute - reach, minute, zone), cron.next_after(minute, zone)
