"""The calls of the Scheduler at the times of its crons, and its repetitions of failed calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater

from sbm.sandbox.stand_ins.celery_cron import CeleryCron
from sbm.sandbox.stand_ins.scheduler import PostClient, post_back, within
from sbm.sandbox.stand_ins.schedules import Schedule, Scheduler

# The delay before the first repetition; before the n-th one, it is 2 to 4^n seconds.
FIRST_SECONDS = 5.0
REPETITIONS = 5

_MINUTE = timedelta(minutes=1)
# If several times of a cron have passed since the last look, it makes one call.
_FURTHEST_BACK = timedelta(days=1)


@define(eq=False, slots=False, kw_only=True)
class Beat(Service):
    """While it runs, POSTs to the endpoints of the schedules whose crons are due.

    ``now`` gives the time, and crons are read in ``zone``. A failed call is repeated unchanged,
    five times; then the failure is recorded in the model. ``draw`` gives a random number from 0 to
    1. If a cron with a date that does not exist is stored, no calls are made.
    """

    scheduler: Scheduler
    treq: PostClient
    clock: IReactorTime
    now: Callable[[], datetime]
    draw: Callable[[], float]
    zone: tzinfo = timezone.utc
    patience: timedelta = timedelta(seconds=10)
    _up_to: datetime = field(init=False)
    _under_way: set[Deferred[None]] = field(init=False, factory=set)
    _loop: LoopingCall = field(init=False)

    def startService(self) -> None:
        """Begin with the crons that come due from now on."""
        Service.startService(self)
        self._up_to = self.now()
        self._loop = LoopingCall(self._look)
        self._loop.clock = self.clock
        self._loop.start(1.0, now=False)

    def stopService(self) -> Deferred[Any]:
        """Make no more calls, and cancel those in progress."""
        Service.stopService(self)
        self._loop.stop()
        under_way = list(self._under_way)
        for call in under_way:
            call.addErrback(lambda _: None)
            call.cancel()
        return gatherResults(under_way)

    @property
    def is_calling(self) -> bool:
        """Whether a call is in progress, or waits to be repeated."""
        return bool(self._under_way)

    def _look(self) -> None:
        since, self._up_to = self._up_to, self.now()
        minutes = _minutes(max(since, self._up_to - _FURTHEST_BACK), self._up_to, self.zone)
        for schedule in self.scheduler.firing():
            cron = CeleryCron.read(schedule.fires_at or "")
            if cron is not None and any(cron.is_due(minute) for minute in minutes):
                self._begin(schedule)

    def _begin(self, schedule: Schedule) -> None:
        call = Deferred.fromCoroutine(self._call(schedule))
        self._under_way.add(call)
        call.addBoth(lambda _: self._under_way.discard(call))

    async def _call(self, schedule: Schedule) -> None:
        """Call until the answer is a 2xx, or all repetitions have failed."""
        failure = await self._failure_of_a_call(schedule)
        for repetition in range(1, REPETITIONS + 1):
            if failure is None:
                return
            await deferLater(self.clock, self._pause(repetition))
            failure = await self._failure_of_a_call(schedule)
        if failure is not None:
            self.scheduler.record_failure(schedule.id, failure)

    async def _failure_of_a_call(self, schedule: Schedule) -> str | None:
        try:
            return await within(self.patience, self.clock, post_back(self.treq, schedule))
        except CancelledError:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def _pause(self, repetition: int) -> float:
        if repetition == 1:
            return FIRST_SECONDS
        return float(2 + self.draw() * (4**repetition - 2))


def _minutes(since: datetime, until: datetime, zone: tzinfo) -> Sequence[datetime]:
    """The whole minutes later than ``since`` up to ``until``, in local time."""
    minute = until.astimezone(timezone.utc).replace(second=0, microsecond=0)
    minutes = []
    while minute > since:
        minutes.append(minute.astimezone(zone))
        minute -= _MINUTE
    return minutes
