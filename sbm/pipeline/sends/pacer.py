"""Lets messages leave at the rate of their schedule, and of all together, over all daemons."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from sbm.model.send import Lane, Send
from sbm.runtime.lease import uptime
from sbm.runtime.loop import Loop
from sbm.store import paces
from sbm.store.postgres.database import Database

# How often moments are reserved, and from when to when ahead: so that a slow answer of the database
# does not come too late and leaves no gap, and a daemon that dies wastes little.
RESERVE_SECONDS = 0.1
SOONEST = timedelta(seconds=0.1)
AHEAD = timedelta(seconds=0.4)

# How much later than its moment a message may leave. In any second, so many more messages than the
# rate may leave as the rate allows in this time.
LATE_SECONDS = 0.03

# By how much the clocks of two machines may drift apart, as a share of the time.
DRIFT = 1e-4

# If it is not known as exactly as this what time it is at the database, moments are not used. If so
# many answers in a row did not tell it, the database is slow: then every second moment is used.
SURE_SECONDS = 0.02
MOST_UNSURE = 5


@define(eq=False, kw_only=True)
class Offset:
    """How far the database's clock is ahead of ``uptime``, from the best answer until now.

    ``error`` is by how much it may be wrong: the database read its clock at some time between the
    question and the answer, so a slow answer says little. An answer that contradicts the best one
    shows that the clock was set, and counts instead.
    """

    seconds: float = 0.0
    error: float = float("inf")
    _known_at: float = float("-inf")

    def note(self, told: float, *, asked_at: float, answered_at: float) -> None:
        """Note an answer to the question what time it is."""
        error = (answered_at - asked_at) / 2
        seconds = told - (asked_at + answered_at) / 2
        known = self.error
        if known < float("inf"):
            known += (answered_at - self._known_at) * DRIFT
        if error <= known or abs(seconds - self.seconds) > error + known:
            self.seconds, self.error, self._known_at = seconds, error, answered_at


@define(eq=False, kw_only=True)
class Pace:
    """The sends of one schedule that wait for a moment, and the moments, by ``uptime``.

    ``rate`` is that of the schedule, None if only all together have one. ``coming`` are reserved
    moments in the future; those that are ``ready`` let a message leave.
    """

    rate: int | None
    waiting: dict[Lane, dict[Deferred[None], None]] = field(
        factory=lambda: {"single": {}, "tick": {}}
    )
    coming: deque[float] = field(factory=deque)
    ready: deque[float] = field(factory=deque)
    timer: Any = None

    @property
    def wanted(self) -> int:
        """How many moments are missing."""
        return sum(map(len, self.waiting.values())) - len(self.coming)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits, and no moment is left."""
        return not (any(self.waiting.values()) or self.coming or self.ready or self.timer)

    def next(self) -> Deferred[None] | None:
        """The send whose turn it is; single sends come first."""
        for queue in self.waiting.values():
            if queue:
                turn = next(iter(queue))
                del queue[turn]
                return turn
        return None


@define(eq=False, slots=False, kw_only=True)
class Pacer(Service):
    """Hands out the moments that this daemon has reserved in the database.

    A send first waits for its turn, which comes at a reserved moment. The request itself takes the
    moment, in the callback that writes its first byte; if it comes too late, it has to wait for
    another one. So a service or a daemon that hangs for a while makes no crowd afterwards.
    ``overall_rate`` is that of all schedules together, None: there is none.
    """

    _reactor: Any
    _database: Database
    _overall_rate: int | None
    _uptime: Callable[[], float] = uptime
    _offset: Offset = field(factory=Offset, init=False)
    _unsure: int = field(default=0, init=False)
    _paces: dict[int, Pace] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = Loop(
            reactor=self._reactor,
            name="reserve moments",
            one_pass=self.one_pass,
            rest=RESERVE_SECONDS,
            may_be_cut=True,
        )

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Any:
        Service.stopService(self)
        self.turn_away()
        for pace in self._paces.values():
            if pace.timer is not None:
                pace.timer.cancel()
                pace.timer = None
        return self._loop.stopService()

    def is_paced(self, send: Send) -> bool:
        """Whether a send has to wait for a turn."""
        return send.max_rate is not None or self._overall_rate is not None

    async def turn(self, send: Send) -> None:
        """Return when it is the turn of this send."""
        pace = self._pace_of(send)
        queue = pace.waiting[send.lane]
        turn: Deferred[None] = Deferred(lambda turn: queue.pop(turn, None))
        queue[turn] = None
        await turn

    def take(self, send: Send) -> bool:
        """Take a moment for a message that leaves now; False: there is none at this moment."""
        pace = self._pace_of(send)
        self._advance(pace)
        if not pace.ready:
            return False
        pace.ready.popleft()
        return True

    def turn_away(self) -> None:
        """Cancel every wait."""
        for pace in self._paces.values():
            for queue in pace.waiting.values():
                for turn in list(queue):
                    turn.cancel()

    async def one_pass(self) -> int:
        """Reserve moments for the sends that wait."""
        waiting = sorted(self._paces.items(), key=lambda item: not item[1].waiting["single"])
        for schedule_id, pace in waiting:
            self._advance(pace)
            wanted = pace.wanted
            if wanted > 0:
                await self._reserve(schedule_id, pace, wanted)
                # The next time, others come before it: all may share one overall rate.
                self._paces[schedule_id] = self._paces.pop(schedule_id)
            elif pace.is_idle:
                del self._paces[schedule_id]
        return 0

    async def _reserve(self, schedule_id: int, pace: Pace, wanted: int) -> None:
        asked_at = self._uptime()
        found = await self._database.transact(
            paces.reserve,
            schedule_id=schedule_id,
            schedule_rate=pace.rate,
            overall_rate=self._overall_rate,
            wanted=wanted,
            soonest=SOONEST,
            ahead=AHEAD,
        )
        self._offset.note(found.now, asked_at=asked_at, answered_at=self._uptime())
        is_sure = self._offset.error <= SURE_SECONDS
        self._unsure = 0 if is_sure else self._unsure + 1
        if not is_sure and self._unsure <= MOST_UNSURE:
            return
        base = found.first_at - self._offset.seconds
        step = 1 if is_sure else 2
        pace.coming.extend(base + number * found.spacing for number in range(0, found.count, step))
        self._set_timer(pace)

    def _pace_of(self, send: Send) -> Pace:
        key = 0 if send.max_rate is None else send.schedule_id
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(rate=send.max_rate)
        pace.rate = send.max_rate
        return pace

    def _advance(self, pace: Pace) -> None:
        """Make the moments that have come ready, and forget those that are over."""
        now = self._uptime()
        while pace.coming and pace.coming[0] <= now:
            pace.ready.append(pace.coming.popleft())
        while pace.ready and pace.ready[0] < now - LATE_SECONDS:
            pace.ready.popleft()

    def _set_timer(self, pace: Pace) -> None:
        if pace.timer is None and pace.coming and self.running:
            delay = max(0.0, pace.coming[0] - self._uptime())
            pace.timer = self._reactor.callLater(delay, self._call, pace)

    def _call(self, pace: Pace) -> None:
        """Call one send for each moment that is ready."""
        pace.timer = None
        self._advance(pace)
        for _ in range(len(pace.ready)):
            turn = pace.next()
            if turn is None:
                break
            turn.callback(None)
        self._set_timer(pace)
