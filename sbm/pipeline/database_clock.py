"""Watches the database's clock: no conclusion is drawn from it while it may be wrong."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from sbm.runtime.lease import CLOCK_MARGIN, uptime
from sbm.store import clock
from sbm.store.clock import ClockState, Distance
from sbm.store.postgres.gated import Transactions
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry

T = TypeVar("T")

# A change of the distance up to this size is no jump. Two clocks that are not synchronised drift
# apart by less than a second in an hour.
TOLERANCE_SECONDS = 1.0
TOLERANCE_OF = 1 / 5000

# A clock that is corrected slowly is followed, up to this speed. That of chrony is 1/12.
FOLLOWED = 0.1

# How long no tick is made and nothing is repaired after a jump. A clock that is wrong for a few
# seconds is right again by then.
SETTLING_SECONDS = 15.0

# How long nothing is deleted for its age after a jump. Operators notice a wrong clock by then.
CALM_SECONDS = 86_400.0

KEEP_SECONDS = 60.0

# Nothing at another service is older.
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)


def machine() -> str | None:
    """A name for this machine since its last start; None if it has none.

    Processes with the same name have the same uptime as well.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/time')}"
    except OSError:
        return None


@frozen(kw_only=True)
class ClockReading:
    """What a transaction knows about the clock from which it has its now().

    ``doubted_for``: how long no conclusion may be drawn from the time that has passed.
    ``is_settled``: the last jump was some seconds ago; ``is_calm``: it was a day ago. ``margin``:
    how much later a time that it wrote may be than the same time by the clock of another service.
    """

    now: datetime
    doubted_for: timedelta = timedelta(0)
    is_settled: bool = True
    is_calm: bool = True
    margin: timedelta = CLOCK_MARGIN

    def earliest(self, written: datetime) -> datetime:
        """The earliest time, by another service's clock, that ``written`` may stand for.

        ``written`` is by the database's clock, which may have been wrong then, or is wrong now.
        """
        return written - min(self.margin, max(CLOCK_MARGIN, written - _EARLIEST))

    @property
    def is_doubted(self) -> bool:
        """Whether no lease and no settle time may be considered over."""
        return self.doubted_for > timedelta(0)


@define(eq=False, slots=False, kw_only=True)
class DatabaseClock:
    """Compares the database's clock with this machine's uptime.

    Each transaction that draws conclusions from the time does this first. The distance between the
    two clocks is known as an interval: now() is read after the transaction was requested, and
    before its answer arrives. So a slow statement, a busy reactor, or a daemon that was stopped
    makes the interval wide, but does not move it. If the interval has moved by more than a second,
    the clock was set, or the server is another one. Then this daemon, and any other that reads what
    it has recorded, draws no conclusions for ``hold``, which is lease and settle time together.
    """

    hold: timedelta = timedelta(seconds=180)
    # The longest lease or delay that this program writes.
    most: timedelta = timedelta(hours=1)
    telemetry: Telemetry = field(factory=Telemetry)
    uptime: Callable[[], float] = uptime
    wall_clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    machine: str | None = field(factory=machine)
    log: Logger = field(factory=Logger)
    _distance: Distance | None = field(default=None, init=False)
    _known: int | None = field(default=None, init=False)
    # By how much the clock was set since the jump that is known; None if that is all recorded.
    _unrecorded: float | None = field(default=None, init=False)
    # How far that may be from the truth; within how many seconds the clock was set; and by how much
    # it was set the last time.
    _unsure: float = field(default=0.0, init=False)
    _within: float = field(default=0.0, init=False)
    _last_jump: float = field(default=0.0, init=False)
    _jumped_at: float = field(default=float("-inf"), init=False)
    _doubted_until: float = field(default=float("-inf"), init=False)
    _kept_at: float = field(default=float("-inf"), init=False)
    _heeded: int = field(default=0, init=False)

    async def begin(self, database: Transactions) -> None:
        """Look at the clock for the first time, if that was not done yet.

        Call this before anything is claimed: only a daemon that knew the clock before a jump can
        see the jump.
        """
        if self._distance is None:
            await self.transact(database, _nothing, keeps=True)

    async def transact(
        self,
        database: Transactions,
        work: Callable[[Transaction, ClockReading], Awaitable[T]],
        *,
        keeps: bool = False,
    ) -> T:
        """Run ``work(transaction, reading)`` in a transaction whose now() was compared first.

        ``keeps``: the transaction is short, so it also stores the distance now and then.
        """
        asked_at = self.uptime()
        recorded: list[tuple[float, int]] = []

        async def compared(transaction: Transaction) -> T:
            recorded.clear()
            reading = await self.compare(transaction, asked_at=asked_at)
            if self._unrecorded is not None:
                recorded.append((self._unrecorded, await self._record(transaction)))
            elif keeps:
                await self._keep(transaction)
            return await work(transaction, reading)

        result = await database.transact(compared)
        for jump, jump_id in recorded:
            if jump == self._unrecorded:  # if not, there was another jump: it is recorded later
                self._known, self._unrecorded = jump_id, None
        return result

    async def compare(self, transaction: Transaction, *, asked_at: float) -> ClockReading:
        """Compare the now() of a transaction that was requested at ``asked_at`` of ``uptime``.

        The next ``transact`` records a jump that is seen here.
        """
        state = await clock.read(transaction, machine=self.machine, known=self._known)
        until = self.uptime()
        seen = Distance(
            lowest=state.seconds - until, highest=state.seconds - asked_at, uptime=until
        )
        if self._distance is None:
            self._begin(state, seen)
        assert self._distance is not None
        jump = _jump(self._distance, seen)
        if asked_at < self._distance.uptime:
            # Another transaction was requested later, and its reading came earlier. It is not known
            # which of the two read the clock first.
            is_odd = bool(jump)
        else:
            is_odd = not self._look(state, jump, seen)
        self._heed(state, asked_at, until)
        return self._reading(state, asked_at, is_odd=is_odd)

    def _begin(self, state: ClockState, seen: Distance) -> None:
        """The first look of a daemon, which may use what was stored before it was started."""
        if state.distance is not None and state.distance.uptime <= seen.uptime:
            kept = state.distance
            # Not later than the request for this transaction: else the transaction would seem to
            # have been overtaken.
            asked_at = state.seconds - seen.highest
            self._distance = evolve(kept, uptime=min(kept.uptime, asked_at))
            self._known = state.known_then
        else:
            self._distance, self._known = seen, state.jump_id

    def _look(self, state: ClockState, jump: float, seen: Distance) -> bool:
        """Follow the clock, which was set by ``jump`` since this daemon's last look (0: not set).

        Returns whether that is certain: if not, this transaction draws no conclusions.
        """
        assert self._distance is not None
        if jump:
            if self._unrecorded is None:
                self._unrecorded = self._unsure = 0.0
            self._unrecorded += jump
            self._unsure += (self._distance.width + seen.width) / 2
            self._see(jump, seen)
        elif (
            self._unrecorded is not None
            or abs(state.recorded) <= clock.SAME_JUMP_SECONDS + self._unsure
        ):
            self._distance = _followed(self._distance, seen)
            if self._unrecorded is None:
                self._know(state.jump_id)
        else:
            return self._look_again(state, seen)
        return True

    def _look_again(self, state: ClockState, seen: Distance) -> bool:
        """Another daemon has recorded a jump, but this one finds the clock where it was.

        Either the clock was set right since, perhaps a moment ago, and this daemon did not look in
        between. Or the machine of the other daemon was suspended, and the clock never jumped.
        """
        assert self._distance is not None
        is_right = bool(_jump(_moved(self._distance, state.recorded), seen))
        if not is_right and seen.width > self._distance.width:
            return False  # this look took so long that either may be true; the next one decides
        # If the recorded jump takes back one that this daemon has seen itself, it is accepted. Else
        # two machines that disagree would correct each other for ever.
        if is_right and abs(state.recorded + self._last_jump) > clock.SAME_JUMP_SECONDS:
            self._unrecorded = 0.0
        else:
            self._know(state.jump_id)
        self._see(-state.recorded, seen)
        return True

    def _know(self, jump_id: int) -> None:
        if jump_id > (self._known or 0):
            # Another daemon has recorded by how much the clock was set, as well as it knows.
            self._known, self._unsure = jump_id, 0.0

    def _see(self, jump: float, seen: Distance) -> None:
        """Log once that the clock was set, and doubt it from now on."""
        assert self._distance is not None
        self._within = seen.uptime - self._distance.uptime
        self._last_jump = jump
        self._distance = seen
        self._jumped_at = seen.uptime
        self._doubted_until = seen.uptime + self.hold.total_seconds()
        self.telemetry.count("clock.jumps")
        self.telemetry.gauge("clock.last_jump_seconds", jump)
        self.log.error(
            "the database's clock was set {direction} by {seconds:.1f} s, or the server is another"
            " one: for {hold:.0f} s no lease ends, and no unknown send is owed again",
            direction="forward" if jump > 0 else "back",
            seconds=abs(jump),
            hold=self.hold.total_seconds(),
        )

    async def _record(self, transaction: Transaction) -> int:
        return await clock.record_jump(
            transaction,
            seconds=self._unrecorded or 0.0,
            unsure=self._unsure,
            known=self._known or 0,
            within=self._within,
            doubted_for=self.hold.total_seconds(),
        )

    def _heed(self, state: ClockState, asked_at: float, until: float) -> None:
        """Respect a jump that was recorded by another daemon, or before the start of this one."""
        if state.jump_id in (0, self._heeded):
            return
        self._heeded = state.jump_id
        since, rest = state.seen_ago, state.doubted_for
        if since < 0:
            # The clock was set back after the jump was recorded, while no daemon ran.
            since, rest = 0.0, self.hold.total_seconds()
        self._jumped_at = max(self._jumped_at, asked_at - since)
        if rest > 0:
            self._doubted_until = max(self._doubted_until, until + rest)

    def _reading(self, state: ClockState, asked_at: float, *, is_odd: bool) -> ClockReading:
        rest = max(0.0, self._doubted_until - asked_at)
        self.telemetry.gauge("clock.doubted_seconds", rest)
        return ClockReading(
            now=state.now,
            doubted_for=timedelta(seconds=max(rest, 1.0) if is_odd else rest),
            is_settled=not is_odd and asked_at >= self._jumped_at + SETTLING_SECONDS,
            is_calm=not is_odd and asked_at >= self._jumped_at + CALM_SECONDS,
            margin=self._margin(state),
        )

    def _margin(self, state: ClockState) -> timedelta:
        """The clock of a service may differ by CLOCK_MARGIN from the one that is right.

        That is this machine's wall clock, or the database's as it was between two of its jumps.
        """
        ahead = (state.now - self.wall_clock()).total_seconds()
        return CLOCK_MARGIN + timedelta(seconds=state.was_ahead + max(state.was_behind, ahead))

    async def _keep(self, transaction: Transaction) -> None:
        distance, now = self._distance, self.uptime()
        if self.machine is None or distance is None:
            return
        if now >= self._kept_at + KEEP_SECONDS or self._kept_at < self._jumped_at:
            await clock.keep(
                transaction, machine=self.machine, distance=distance, jump_id=self._known or 0
            )
            self._kept_at = now


async def _nothing(_transaction: Transaction, _reading: ClockReading) -> None:
    """No work: only the clock is read."""


def _jump(before: Distance, seen: Distance) -> float:
    """By how many seconds the clock was most likely set between the two; 0: it was not."""
    tolerance = TOLERANCE_SECONDS + max(0.0, seen.uptime - before.uptime) * TOLERANCE_OF
    if before.highest + tolerance < seen.lowest or seen.highest < before.lowest - tolerance:
        return (seen.lowest + seen.highest - before.lowest - before.highest) / 2
    return 0.0


def _moved(before: Distance, seconds: float) -> Distance:
    """The distance as it would be if the clock was set by so many seconds."""
    return evolve(before, lowest=before.lowest + seconds, highest=before.highest + seconds)


def _followed(before: Distance, seen: Distance) -> Distance:
    """The distance now, by both: it has moved no further than a clock may drift."""
    drift = max(0.0, seen.uptime - before.uptime) * FOLLOWED
    lowest, highest = before.lowest - drift, before.highest + drift
    return Distance(
        lowest=min(max(lowest, seen.lowest), highest),
        highest=max(min(highest, seen.highest), lowest),
        uptime=seen.uptime,
    )
