"""The database's clock beside this machine's uptime: what is a jump, and what follows from one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.logger import capturedLogs, formatEvent

from sbm.pipeline.database_clock import (
    CALM_SECONDS,
    SETTLING_SECONDS,
    ClockReading,
    DatabaseClock,
    machine,
)
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.simulated_time import simulate_time

HOLD = 180.0
DAY = 86_400.0

# Both clocks are the test's: PostgreSQL's stands still until it is set.
BEGINNING = datetime(2026, 3, 1, tzinfo=timezone.utc)


async def _nothing(_: Transaction, reading: ClockReading) -> ClockReading:
    return reading


@define(eq=False, slots=False)
class Bench:
    """Daemons on one machine, or on several, over a database in the time of the test."""

    database: Database
    direct: Arranged
    uptime: float = 1000.0
    # What the wall clock of every machine shows more than the database's did at first.
    wall: float = 0.0
    # For how long each machine stood still, its uptime with it.
    stood: dict[str | None, float] = field(factory=dict)
    # How much of the uptime a transaction takes before and after its now() is fixed.
    waits: list[float] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        simulate_time(
            self.direct,
            schema="standing",
            column="at timestamptz NOT NULL",
            value=f"'{BEGINNING}'",
            time="at",
        )
        self.telemetry = Telemetry()

    def daemon(self, name: str | None = "here") -> DatabaseClock:
        return DatabaseClock(
            hold=timedelta(seconds=HOLD),
            telemetry=self.telemetry,
            uptime=lambda: self._read_uptime() - self.stood.get(name, 0.0),
            wall_clock=lambda: BEGINNING + timedelta(seconds=self.uptime - 1000 + self.wall),
            machine=name,
        )

    def _read_uptime(self) -> float:
        if self.waits:
            self.uptime += self.waits.pop(0)
        return self.uptime

    def sets(self, by: float) -> None:
        """The database's clock alone jumps."""
        self.direct.rows("UPDATE standing.clock SET at = at + make_interval(secs => %s)", by)

    def passes(self, seconds: float) -> None:
        """Time passes, for both."""
        self.uptime += seconds
        self.sets(seconds)

    async def reads(
        self,
        clock: DatabaseClock,
        work: Callable[[Transaction, ClockReading], Awaitable[Any]] = _nothing,
    ) -> ClockReading:
        reading: ClockReading = await clock.transact(self.database, work, keeps=True)
        return reading

    def jumps(self) -> list[float]:
        rows = self.direct.rows("SELECT EXTRACT(epoch FROM size) AS size FROM clock_jumps")
        return [round(float(row["size"])) for row in rows]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_while_the_two_go_on_together_the_clock_is_trusted(bench: Bench) -> None:
    clock = bench.daemon()
    for seconds in (0, 5, 3600, 5):
        bench.passes(seconds)
        reading = await bench.reads(clock)
        assert (reading.is_doubted, reading.is_settled, reading.is_calm) == (False, True, True)
    assert (bench.jumps(), bench.telemetry.counts["clock.jumps"]) == ([], 0)
    assert bench.telemetry.measured("clock.doubted_seconds") == 0


@pytest.mark.parametrize("by", [1.5, -1.5, 30, -30, DAY, -DAY])
@ensureDeferred
async def test_a_jump_is_seen_in_the_transaction_that_would_conclude(
    bench: Bench, by: float
) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    bench.passes(5)
    bench.sets(by)
    with capturedLogs() as events:
        reading = await bench.reads(clock)
        bench.passes(HOLD - 1)
        assert (await bench.reads(clock)).is_doubted
    assert (reading.is_doubted, reading.is_settled) == (True, False)
    assert reading.doubted_for == timedelta(seconds=HOLD)
    direction = "forward" if by > 0 else "back"
    told = [formatEvent(event) or "" for event in events]
    # What earlier tests have left behind may log as well.
    (ours,) = [line for line in told if "clock was set" in line]
    assert f"was set {direction} by {abs(by):.1f} s" in ours
    assert bench.jumps() == [round(by)]
    bench.passes(1)
    after = await bench.reads(clock)
    assert (after.is_doubted, after.is_settled, after.is_calm) == (False, True, False)
    bench.passes(CALM_SECONDS)
    assert (await bench.reads(clock)).is_calm


@ensureDeferred
async def test_some_seconds_after_a_jump_the_clock_is_settled_though_it_is_in_doubt(
    bench: Bench,
) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    bench.sets(60)
    await bench.reads(clock)
    bench.passes(SETTLING_SECONDS - 1)
    assert not (await bench.reads(clock)).is_settled
    bench.passes(1)
    reading = await bench.reads(clock)
    assert (reading.is_settled, reading.is_doubted) == (True, True)


@ensureDeferred
async def test_each_further_jump_begins_the_time_anew(bench: Bench) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    bench.sets(DAY)
    await bench.reads(clock)
    bench.passes(4)
    bench.sets(-DAY)
    assert (await bench.reads(clock)).doubted_for == timedelta(seconds=HOLD)
    assert bench.jumps() == [DAY, -DAY]
    assert bench.telemetry.counts["clock.jumps"] == 2
    assert bench.telemetry.measured("clock.last_jump_seconds") == -DAY


@ensureDeferred
async def test_a_clock_that_is_brought_into_line_slowly_is_followed(bench: Bench) -> None:
    clock = bench.daemon()
    for _ in range(60):
        bench.passes(5)
        bench.sets(0.4)
        assert not (await bench.reads(clock)).is_doubted
    assert bench.jumps() == []


@ensureDeferred
async def test_many_small_jumps_are_one(bench: Bench) -> None:
    clock = bench.daemon()
    seen = []
    for _ in range(5):
        bench.sets(0.9)
        seen.append((await bench.reads(clock)).is_doubted)
    assert seen[-1], seen


@ensureDeferred
async def test_half_a_second_is_no_jump(bench: Bench) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    for by in (0.5, -0.5, 0.9, -0.9):
        bench.sets(by)
        assert not (await bench.reads(clock)).is_doubted


@pytest.mark.parametrize("waits", [(0.0, 30.0), (3600.0, 0.0), (0.0, 0.0)])
@ensureDeferred
async def test_a_slow_answer_or_a_daemon_that_was_stopped_is_no_jump(
    bench: Bench, waits: tuple[float, float]
) -> None:
    """Stopped before the transaction, or between asking for it and hearing its answer."""
    clock = bench.daemon()
    await bench.reads(clock)
    before, between = waits
    bench.sets(before + between / 2)
    bench.waits = [before, between]
    assert not (await bench.reads(clock)).is_doubted
    bench.sets(between / 2)
    assert not (await bench.reads(clock)).is_doubted
    bench.sets(2)
    assert (await bench.reads(clock)).is_doubted, "after a wide look, it still sees a small jump"


@ensureDeferred
async def test_what_was_asked_before_another_look_says_nothing_and_concludes_nothing(
    bench: Bench,
) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    bench.passes(5)
    # Its uptime is read when it is asked for; the clock is set, and another one looks, before it is
    # answered.
    asked_at = bench.uptime
    bench.passes(1)
    bench.sets(DAY)
    await bench.reads(clock)
    bench.sets(-DAY)
    uptimes = iter([asked_at, bench.uptime])
    clock.uptime = lambda: next(uptimes, bench.uptime)
    late = await clock.transact(bench.database, _nothing)
    assert (late.is_doubted, late.is_settled) == (True, False)
    assert bench.jumps() == [DAY], "nobody can say which of the two was first"


@ensureDeferred
async def test_several_daemons_record_a_jump_once_and_each_doubts(bench: Bench) -> None:
    first, second, far = bench.daemon(), bench.daemon(), bench.daemon("elsewhere")
    for clock in (first, second, far):
        await bench.reads(clock)
    bench.sets(DAY)
    for clock in (first, second, far):
        assert (await bench.reads(clock)).is_doubted
        bench.passes(1)
    assert bench.jumps() == [DAY]
    bench.sets(-DAY)
    for clock in (far, second, first):
        assert (await bench.reads(clock)).is_doubted
    assert bench.jumps() == [DAY, -DAY]


@pytest.mark.parametrize("first", ["who was away", "who saw it"])
@pytest.mark.parametrize("by", [-90_000, 90_000, 30])
@ensureDeferred
async def test_a_daemon_that_did_not_look_while_it_was_wrong_sees_that_it_was_set_right(
    bench: Bench, first: str, by: float
) -> None:
    away, other = bench.daemon(), bench.daemon("elsewhere")
    for clock in (away, other):
        await bench.reads(clock)
    bench.sets(by)
    await bench.reads(other)
    bench.passes(HOLD + 1)
    assert not (await bench.reads(other)).is_doubted
    bench.sets(-by)
    order = [away, other] if first == "who was away" else [other, away]
    for clock in order:
        reading = await bench.reads(clock)
        assert (reading.is_doubted, reading.is_settled) == (True, False)
    assert bench.jumps() == [by, -by]
    bench.passes(HOLD + 1)
    for clock in order:
        assert not (await bench.reads(clock)).is_doubted
    assert bench.jumps() == [by, -by]


@ensureDeferred
async def test_a_look_that_is_too_slow_to_tell_whether_it_was_set_right_concludes_nothing(
    bench: Bench,
) -> None:
    away, other = bench.daemon(), bench.daemon()
    for clock in (away, other):
        await bench.reads(clock)
    bench.sets(-30)
    await bench.reads(other)
    bench.passes(HOLD + 1)
    bench.sets(30)
    bench.waits = [0.0, 40.0]
    assert (await bench.reads(away)).is_doubted
    assert bench.jumps() == [-30]
    bench.sets(40)
    assert (await bench.reads(away)).doubted_for == timedelta(seconds=HOLD)
    assert bench.jumps() == [-30, 30]


@ensureDeferred
async def test_who_knew_the_clock_too_roughly_to_tell_doubts_it_once(bench: Bench) -> None:
    rough, other = bench.daemon("elsewhere"), bench.daemon()
    await bench.reads(other)
    bench.waits = [0.0, 100.0]
    await bench.reads(rough)
    bench.sets(100)
    bench.passes(1)
    await bench.reads(other)
    bench.sets(-30)  # within what the rough one knows
    await bench.reads(other)
    bench.passes(HOLD + 1)
    jumps = bench.jumps()
    assert (await bench.reads(rough)).doubted_for == timedelta(seconds=HOLD)
    bench.passes(HOLD)
    assert not (await bench.reads(rough)).is_doubted
    assert bench.jumps() == jumps, "it cannot say by how much"
    bench.sets(2)
    assert (await bench.reads(rough)).is_doubted, "by now it knows the clock well"


@pytest.mark.parametrize("first", ["the rough one", "the other"])
@ensureDeferred
async def test_who_knew_the_clock_roughly_takes_the_size_of_a_jump_from_others(
    bench: Bench, first: str
) -> None:
    rough, other = bench.daemon("elsewhere"), bench.daemon()
    await bench.reads(other)
    bench.waits = [0.0, 20.0]
    await bench.reads(rough)
    bench.sets(20)
    await bench.reads(other)
    bench.sets(DAY)
    for _ in range(3):
        for clock in [rough, other] if first == "the rough one" else [other, rough]:
            assert (await bench.reads(clock)).is_doubted
            bench.passes(1)
    assert sum(bench.jumps()) == DAY
    assert len(bench.jumps()) == (2 if first == "the rough one" else 1)


@ensureDeferred
async def test_machines_that_disagree_about_a_jump_do_not_take_each_other_back_for_ever(
    bench: Bench,
) -> None:
    stood, *others = clocks = [bench.daemon(name) for name in ("stood", "here", "far")]
    for clock in clocks:
        await bench.reads(clock)
    bench.passes(60)
    bench.stood["stood"] = 60.0
    for _ in range(3):
        for clock in (stood, *others):
            assert (await bench.reads(clock)).is_doubted
            bench.passes(5)
    assert bench.jumps() == [60, -60]
    bench.passes(HOLD)
    for clock in (*clocks, bench.daemon("stood"), bench.daemon("new")):
        assert not (await bench.reads(clock)).is_doubted
    assert bench.jumps() == [60, -60]


@ensureDeferred
async def test_a_daemon_that_starts_later_heeds_what_was_seen(bench: Bench) -> None:
    clock = bench.daemon(None)
    await bench.reads(clock)
    bench.sets(DAY)
    await bench.reads(clock)
    bench.passes(10)
    late = bench.daemon(None)
    reading = await bench.reads(late)
    assert (reading.is_settled, reading.is_doubted) == (False, True)
    assert reading.doubted_for == timedelta(seconds=HOLD - 10)
    bench.passes(HOLD - 10)
    assert not (await bench.reads(late)).is_doubted
    assert not (await bench.reads(bench.daemon(None))).is_doubted


@ensureDeferred
async def test_what_a_clock_saw_that_was_set_back_since_is_doubted_in_full(bench: Bench) -> None:
    clock = bench.daemon(None)
    await bench.reads(clock)
    bench.sets(DAY)
    await bench.reads(clock)
    bench.sets(-DAY)
    late = bench.daemon(None)
    assert (await bench.reads(late)).doubted_for == timedelta(seconds=HOLD)
    bench.passes(HOLD)
    assert not (await bench.reads(late)).is_doubted


@ensureDeferred
async def test_a_jump_that_nobody_was_there_to_see_is_seen_by_the_next_on_the_machine(
    bench: Bench,
) -> None:
    await bench.reads(bench.daemon())
    bench.passes(3600)
    assert not (await bench.reads(bench.daemon())).is_doubted
    bench.sets(-30)
    bench.passes(3600)
    assert (await bench.reads(bench.daemon())).is_doubted
    assert bench.jumps() == [-30]


@ensureDeferred
async def test_another_machine_knows_nothing_of_this_one(bench: Bench) -> None:
    await bench.reads(bench.daemon())
    bench.uptime = 5.0  # it was started a moment ago
    assert not (await bench.reads(bench.daemon("started again"))).is_doubted
    assert bench.jumps() == []


@ensureDeferred
async def test_a_jump_that_was_rolled_back_is_recorded_by_the_next_transaction(
    bench: Bench,
) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    bench.sets(DAY)

    async def fails(_: Transaction, reading: ClockReading) -> None:
        assert reading.is_doubted
        raise ValueError("rain")

    with pytest.raises(ValueError, match="rain"):
        await clock.transact(bench.database, fails)
    assert bench.jumps() == []
    assert (await bench.reads(clock)).is_doubted
    assert bench.jumps() == [DAY]
    await bench.reads(clock)
    assert bench.jumps() == [DAY]


def test_a_machine_has_a_name_until_it_is_started_anew() -> None:
    assert machine() == machine()


@pytest.mark.parametrize(
    ("jumps", "wall", "margin"),
    [
        ([], 0, DAY),
        ([], -3 * DAY, 4 * DAY),
        ([], 3 * DAY, DAY),
        # It is right again.
        ([3 * DAY, -3 * DAY], 0, 4 * DAY),
        ([-3 * DAY, 3 * DAY], 0, 4 * DAY),
        ([3 * DAY, -3 * DAY] * 3, 0, 4 * DAY),
        # It was three days ahead, and is one day ahead now.
        ([3 * DAY, -2 * DAY], 0, 4 * DAY),
        # The wall clock jumped with it, as it is the clock of the same machine.
        ([3 * DAY], 3 * DAY, 4 * DAY),
        ([3 * DAY, -2 * DAY], DAY, 4 * DAY),
        ([-3 * DAY], -3 * DAY, 4 * DAY),
    ],
)
@ensureDeferred
async def test_at_another_service_it_may_have_been_earlier_by_all_that_the_clock_was_ahead(
    bench: Bench, jumps: list[float], wall: float, margin: float
) -> None:
    clock = bench.daemon()
    await bench.reads(clock)
    for jump in jumps:
        bench.sets(jump)
        await bench.reads(clock)
    bench.wall = wall
    for one in (clock, bench.daemon("elsewhere")):
        reading = await bench.reads(one)
        assert reading.now - reading.earliest(reading.now) == timedelta(seconds=margin)


def test_a_time_at_another_service_can_be_told_however_wrong_the_clock_was() -> None:
    reading = ClockReading(now=BEGINNING, margin=timedelta(days=365_000))
    for written in (BEGINNING, datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=1)):
        assert reading.earliest(written) <= written - timedelta(days=1)
