"""Which due moment a call of the Seed Scheduler belongs to, and which earlier call it repeats.

The Scheduler repeats a call that was not answered, up to 23 minutes later, with nothing to know it
by. So calls are told apart by the moments at which they were due.
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

# How far ahead a moment may lie: by so much the Scheduler's clock may be wrong.
AHEAD = timedelta(minutes=2)

_MINUTE = timedelta(minutes=1)


@frozen(kw_only=True)
class Target:
    """What the Scheduler calls for: one subscription, or one schedule."""

    kind: Literal["subscription", "schedule"]
    id: UUID | int


@frozen(kw_only=True)
class Crons:
    """The cron that the Scheduler was told for a target, and the one that it would be told now.

    Each is None where there is none. ``now`` is the database's clock.
    """

    told: str | None
    wanted: str | None
    now: datetime

    @property
    def definition(self) -> str | None:
        """The one by which the Scheduler calls, as far as we know."""
        return self.wanted if self.told is None else self.told


@frozen(kw_only=True)
class RecordedCall:
    """A call that was done: when it came, its moment, and what it was answered.

    The moment of a call that fits none is the time at which it came. ``is_misdated``: its moment is
    one of a clock that was wrong.
    """

    moment: datetime
    came_at: datetime
    status: int
    body: bytes
    is_misdated: bool = False

    def dated(self, definition: str | None, *, zone: ZoneInfo, back: timedelta) -> RecordedCall:
        """With the moment that it has by the clock of now; the others are as for its own call."""
        if not self.is_misdated:
            return self
        moment = nearest_moment(definition, zone=zone, now=self.came_at, back=back)
        return evolve(self, moment=self.came_at if moment is None else moment, is_misdated=False)


def nearest_moment(
    definition: str | None, *, zone: ZoneInfo, now: datetime, back: timedelta
) -> datetime | None:
    """The due moment that a call at ``now`` belongs to; None: it fits none.

    It is the nearest moment of the cron, which is read in ``zone``, so it never lies beyond half
    the distance to its neighbour. It lies ``back`` or AHEAD at most.
    """
    if definition is None:
        return None
    minute = now.replace(second=0, microsecond=0)
    before, after = _neighbours(definition, zone, minute, max(back, AHEAD) + _MINUTE)
    if before is not None and (after is None or now - before <= after - now):
        return before if now - before <= back else None
    return after if after is not None and after - now <= AHEAD else None


def kept(within: timedelta) -> timedelta:
    """How old a recorded call may be that another one repeats.

    A moment is called for from AHEAD before it until ``within`` after it; the rest is for
    transactions that wait for each other.
    """
    return within + 2 * AHEAD


def find_repeated(
    calls: Iterable[RecordedCall], *, moment: datetime | None, now: datetime, within: timedelta
) -> RecordedCall | None:
    """The recorded call that a call at ``now`` repeats; None: it is a new one.

    ``calls`` are those of its target, and ``moment`` is its own moment. A call that fits no moment
    repeats the last one that came less than ``within`` ago. One that fits a moment repeats the call
    of that moment, unless a call of the last ``within`` is recorded under a moment that is nearer
    still: the cron has changed since, or that call fitted no moment.
    """
    young = [call for call in calls if now - call.came_at < within]
    if moment is None:
        return max(young, key=lambda call: call.came_at, default=None)
    own = [call for call in calls if call.moment == moment]
    distance = abs(moment - now)
    nearer = [call for call in young if abs(call.moment - now) < distance]
    return min(own + nearer, key=lambda call: abs(call.moment - now), default=None)


@lru_cache(maxsize=1024)
def _neighbours(
    definition: str, zone: ZoneInfo, minute: datetime, reach: timedelta
) -> tuple[datetime | None, datetime | None]:
    """The last moment until ``minute``, but for ``reach`` at most, and the first one after it.

    Moments are whole minutes, so these are the neighbours of each second of this minute. Many
    subscriptions are called for in one minute, and most have the same cron.
    """
    try:
        cron = Cron.from_definition(definition)
    except CronError:
        return None, None
    return cron.latest_between(minute - reach, minute, zone), cron.next_after(minute, zone)
