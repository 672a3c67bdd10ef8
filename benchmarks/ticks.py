"""Ticks of a benchmark: opened by the API of a daemon, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from benchmarks.content import is_idle
from benchmarks.daemons import Daemon
from benchmarks.processes import until
from benchmarks.server import Server
from benchmarks.stand_in import StandIn

_MOST_SECONDS = 7200.0

# To ask more often would cost the stand-ins more than the sends do.
_PAUSE_SECONDS = 0.1


@frozen(kw_only=True)
class Cost:
    """What a number of sends took: processor time in seconds, time, and bytes of PostgreSQL's log.

    The bytes of the log (WAL) show how much is written to the disk.
    """

    sends: int
    daemons: float
    postgres: float
    stand_in: float
    seconds: float
    wal_bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            sends=self.sends + other.sends,
            daemons=self.daemons + other.daemons,
            postgres=self.postgres + other.postgres,
            stand_in=self.stand_in + other.stand_in,
            seconds=self.seconds + other.seconds,
            wal_bytes=self.wal_bytes + other.wal_bytes,
        )

    @property
    def daemon_ms(self) -> float:
        """Milliseconds of processor time of all daemons, for each send."""
        return self.daemons / self.sends * 1000

    @property
    def postgres_ms(self) -> float:
        """Milliseconds of processor time of PostgreSQL, for each send."""
        return self.postgres / self.sends * 1000

    @property
    def stand_in_ms(self) -> float:
        """Milliseconds of processor time of the stand-ins, for each send."""
        return self.stand_in / self.sends * 1000

    @property
    def wal_kb(self) -> float:
        """Kilobytes of the log for each send."""
        return self.wal_bytes / self.sends / 1000

    @property
    def rate(self) -> float:
        """Sends per second."""
        return self.sends / self.seconds


@frozen(eq=False, kw_only=True)
class Sending:
    """Everything that takes part in sending, so that its cost can be read before and after."""

    daemons: Sequence[Daemon]
    server: Server
    stand_in: StandIn
    cursor: Any

    def open(self, schedule: int) -> None:
        """Open a tick of this schedule."""
        self.daemons[0].post(f"schedule/{schedule}/send/")

    def tick(self, schedule: int) -> Cost:
        """Open a tick, and wait until its last send is settled."""
        return self.cost(
            lambda: self.open(schedule), lambda: self._is_quiet() and is_idle(self.cursor)
        )

    def part_of_tick(self, schedule: int, *, after: int, sends: int) -> Cost:
        """Open a tick, and wait for so many sends that come after its first ones."""
        began = self.stand_in.records().outbounds
        self.open(schedule)
        self._until(lambda: self.stand_in.records().outbounds - began >= after)
        end = began + after + sends
        return self.cost(lambda: None, lambda: self.stand_in.records().outbounds >= end)

    def _is_quiet(self) -> bool:
        """Whether no outbound has arrived for a moment. To ask PostgreSQL costs more."""
        records = self.stand_in.records()
        last = records.last_outbound_at
        return last is not None and time.monotonic() - last > _PAUSE_SECONDS

    def _until(self, is_over: Callable[[], bool]) -> None:
        until(is_over, "the tick is sent", seconds=_MOST_SECONDS, pause=_PAUSE_SECONDS)

    def cost(self, begin: Callable[[], None], is_over: Callable[[], bool]) -> Cost:
        """The cost of what ``begin`` begins, until it is over."""
        wal, began_with = self.server.wal_bytes(), self.stand_in.restart().outbounds
        before = self._read()
        begin()
        self._until(is_over)
        after, records = self._read(), self.stand_in.records()
        # The time is that until the last outbound: to notice the end takes some more.
        return Cost(
            sends=records.outbounds - began_with,
            daemons=after[0] - before[0],
            postgres=after[1] - before[1],
            stand_in=after[2] - before[2],
            seconds=(records.last_outbound_at or after[3]) - before[3],
            wal_bytes=self.server.wal_bytes() - wal,
        )

    def _read(self) -> tuple[float, float, float, float]:
        return (
            sum(one.process.cpu_seconds() for one in self.daemons),
            self.server.cpu_seconds(),
            self.stand_in.process.cpu_seconds(),
            time.monotonic(),
        )
