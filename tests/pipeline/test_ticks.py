"""The built-in clock, and what a tick comes to."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import LogLevel, capturedLogs, formatEvent

from sbm.model import time_zones
from sbm.model.durations import TickGrace
from sbm.model.time_zones import TimeZones
from sbm.operations.due_moments import MOST_MISSED
from sbm.pipeline.database_clock import DatabaseClock
from sbm.pipeline.scheduling_mode import SchedulingMode
from sbm.pipeline.ticks import CHUNK, SCHEDULES_PER_PASS, Clock, Expansion
from sbm.runtime.lease import uptime
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged
from tests.wrong_clock import WrongClock

UTC = ZoneInfo("UTC")
HOUR = timedelta(hours=1)


@define(eq=False, slots=False)
class Bench:
    """Clocks over one database; time is the database's, so schedules are set to what it says."""

    database: Database
    direct: Arranged

    def __attrs_post_init__(self) -> None:
        self.wakes = 0
        self.clock = self.another_clock()

    def another_clock(self, time_zone: ZoneInfo = UTC, grace: timedelta = HOUR) -> Clock:
        return Clock(
            database=self.database,
            mode=SchedulingMode(database=self.database, mode="builtin"),
            time_zones=TimeZones(default=time_zone),
            grace=TickGrace(grace),
            ticked=self._wake,
        )

    async def due(self, ago: str = "0 seconds", **fields: str) -> int:
        """A schedule whose next tick was worked out, and came due so long ago."""
        schedule = self.direct.schedule(**fields)
        await self.clock.one_pass()
        self.direct.rows(
            "UPDATE schedules SET next_tick_at = date_trunc('minute', now() - %s::interval)"
            " WHERE id = %s",
            *(ago, schedule),
        )
        return schedule

    def at(self, ago: str) -> dict[str, str]:
        """Cron fields of the minute so long ago."""
        text = self.direct.value(
            "SELECT to_char((now() - %s::interval) AT TIME ZONE 'UTC', 'MI HH24')", ago
        )
        minute, hour = str(text).split()
        return {"minute": str(int(minute)), "hour": str(int(hour))}

    def schedule(self, schedule: int) -> dict[str, Any]:
        (row,) = self.direct.rows(
            "SELECT *, next_tick_at > now() AS is_ahead FROM schedules WHERE id = %s", schedule
        )
        return row

    def ticks(self) -> list[tuple[int, str]]:
        rows = self.direct.rows("SELECT schedule_id, state FROM ticks ORDER BY id")
        return [(row["schedule_id"], row["state"]) for row in rows]

    def _wake(self) -> None:
        self.wakes += 1


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_a_new_schedule_is_wound_and_does_not_tick(bench: Bench) -> None:
    schedule = bench.direct.schedule()
    assert await bench.clock.one_pass() == 1
    assert bench.schedule(schedule)["is_ahead"]
    assert (bench.ticks(), bench.wakes) == ([], 0)
    assert await bench.clock.one_pass() == 0


@ensureDeferred
async def test_a_schedule_that_came_due_ticks_once_and_is_wound_again(bench: Bench) -> None:
    schedule = await bench.due()
    assert await bench.clock.one_pass() == 1
    assert bench.schedule(schedule)["is_ahead"]
    assert await bench.clock.one_pass() == 0
    assert (bench.ticks(), bench.wakes) == ([(schedule, "expanding")], 1)


@ensureDeferred
async def test_several_clocks_make_one_tick_of_one_moment(bench: Bench) -> None:
    schedules = [bench.direct.schedule(**bench.at("10 minutes")) for _ in range(20)]
    await bench.clock.one_pass()
    clocks = [bench.another_clock() for _ in range(5)]
    for _ in range(5):
        bench.direct.rows(
            "UPDATE schedules SET next_tick_at = date_trunc('minute', now() - interval '10 min')"
        )
        await gatherResults([Deferred.fromCoroutine(clock.one_pass()) for clock in clocks])
        while await bench.clock.one_pass():
            pass
    assert sorted(schedule for schedule, _ in bench.ticks()) == schedules


@ensureDeferred
async def test_of_several_moments_that_came_due_the_latest_ticks_and_the_others_were_missed(
    bench: Bench,
) -> None:
    schedule = await bench.due("10 minutes")
    with capturedLogs() as logged:
        await bench.clock.one_pass()
    latest, *others = bench.direct.rows("SELECT * FROM ticks ORDER BY due_at DESC")
    assert (latest["schedule_id"], latest["state"]) == (schedule, "expanding")
    assert {row["state"] for row in others} == {"missed"}
    minutes = [latest["due_at"] - timedelta(minutes=n) for n in range(1, len(others) + 1)]
    assert [row["due_at"] for row in others] == minutes
    assert len(others) >= 10
    (warning,) = (formatEvent(event) for event in logged)
    assert f"schedule {schedule}: {len(others)} ticks were missed, of" in warning
    assert f"{minutes[-1]:%Y-%m-%dT%H:%M}" in warning


@ensureDeferred
async def test_after_a_long_absence_so_many_moments_are_recorded_and_no_more(bench: Bench) -> None:
    schedule = await bench.due("14 days")
    with capturedLogs() as logged:
        await bench.clock.one_pass()
    assert bench.ticks().count((schedule, "missed")) == MOST_MISSED
    assert bench.ticks().count((schedule, "expanding")) == 1
    (warning,) = (formatEvent(event) for event in logged)
    assert "and earlier ones" in warning


@ensureDeferred
async def test_a_changed_field_winds_anew_without_a_tick(bench: Bench) -> None:
    schedule = await bench.due()
    bench.direct.rows("UPDATE schedules SET minute = '7', hour = '7'")
    assert await bench.clock.one_pass() == 1
    row = bench.schedule(schedule)
    assert (row["next_tick_at"].astimezone(UTC).hour, row["is_ahead"]) == (7, True)
    assert (bench.ticks(), bench.wakes) == ([], 0)


@ensureDeferred
async def test_another_time_zone_winds_anew_without_a_tick(bench: Bench) -> None:
    schedule = await bench.due(minute="0", hour="3")
    await bench.another_clock(ZoneInfo("Africa/Johannesburg")).one_pass()
    row = bench.schedule(schedule)
    assert (row["next_tick_at"].astimezone(UTC).hour, row["is_ahead"]) == (1, True)
    assert bench.ticks() == []


# As the first version of the rule was written: the same, without a version in front.
FORGET_VERSION = "UPDATE schedules SET next_tick_rule = regexp_replace(next_tick_rule, '^v2 ', '')"


@ensureDeferred
async def test_what_only_the_old_rule_asked_for_is_neither_ticked_nor_missed(bench: Bench) -> None:
    """Today's day of the month matches, and that of the week does not."""
    schedule = bench.direct.schedule(
        day_of_month=bench.direct.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'FMDD')"),
        day_of_week=bench.direct.value(
            "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '3 days', 'ID')"
        ),
    )
    await bench.clock.one_pass()
    ahead = bench.schedule(schedule)["next_tick_at"]
    bench.direct.rows("UPDATE schedules SET next_tick_at = now() - interval '5 minutes'")
    bench.direct.rows(FORGET_VERSION)
    assert await bench.clock.one_pass() == 1
    assert (bench.ticks(), bench.wakes) == ([], 0)
    assert bench.schedule(schedule)["next_tick_at"] == ahead
    assert await bench.clock.one_pass() == 0


@ensureDeferred
async def test_a_next_tick_that_only_the_old_rule_asks_for_is_dropped(bench: Bench) -> None:
    schedule = bench.direct.schedule(minute="0", hour="0", day_of_month="1-7", day_of_week="1")
    await bench.clock.one_pass()
    ahead = bench.schedule(schedule)["next_tick_at"]
    bench.direct.rows("UPDATE schedules SET next_tick_at = now() + interval '5 minutes'")
    bench.direct.rows(FORGET_VERSION)
    assert await bench.clock.one_pass() == 1
    assert bench.schedule(schedule)["next_tick_at"] == ahead
    assert bench.ticks() == []


@pytest.mark.parametrize(("ago", "state"), [("30 minutes", "expanding"), ("3 hours", "missed")])
@ensureDeferred
async def test_what_both_rules_asked_for_is_not_lost_in_the_upgrade(
    bench: Bench, ago: str, state: str
) -> None:
    schedule = await bench.due(ago, **bench.at(ago))
    # The minute may have ended meanwhile.
    bench.direct.rows("UPDATE schedules SET next_tick_at = next_tick_at - interval '1 minute'")
    bench.direct.rows(FORGET_VERSION)
    await bench.clock.one_pass()
    assert bench.ticks() == [(schedule, state)]


@ensureDeferred
async def test_fields_that_cannot_be_read_stop_nobody_else(bench: Bench) -> None:
    bad, good = bench.direct.schedule(minute="nonsense"), bench.direct.schedule()
    assert await bench.clock.one_pass() == 2
    assert bench.schedule(bad)["next_tick_at"] is None
    assert bench.schedule(good)["is_ahead"]
    assert await bench.clock.one_pass() == 0
    bench.direct.rows("UPDATE schedules SET minute = '*' WHERE id = %s", bad)
    await bench.clock.one_pass()
    assert bench.schedule(bad)["is_ahead"]


@pytest.mark.parametrize(
    ("ago", "state"), [("30 minutes", "expanding"), ("3 hours", "missed"), ("20 hours", "missed")]
)
@ensureDeferred
async def test_a_moment_long_past_is_recorded_as_missed(bench: Bench, ago: str, state: str) -> None:
    schedule = await bench.due(ago, **bench.at(ago))
    bench.direct.subscriptions(1, bench.direct.messageset("pregnancy", schedule), schedule)
    bench.direct.rows("UPDATE subscriptions SET created_at = now() - interval '1 day'")
    await bench.clock.one_pass()
    assert bench.ticks() == [(schedule, state)]
    await Expansion(database=bench.database, owed=lambda: None).one_pass()
    owed = bench.direct.value("SELECT count(*) FROM sends")
    assert owed == (1 if state == "expanding" else 0)
    assert bench.schedule(schedule)["is_ahead"]


@ensureDeferred
async def test_how_late_a_moment_is_made_up_for_is_a_setting(bench: Bench) -> None:
    schedule = await bench.due("3 hours", **bench.at("3 hours"))
    await bench.another_clock(grace=4 * HOUR).one_pass()
    assert bench.ticks() == [(schedule, "expanding")]


# Of 02:30 and of every half hour on the days on which the clock is moved, what is due, in UTC.
@pytest.mark.parametrize(
    ("zone", "midnight", "half_past_two", "half_hours"),
    [
        ("Europe/Berlin", "2026-03-28T23:00Z", ["01:00"], 46),
        ("Europe/Berlin", "2026-10-24T22:00Z", ["00:30"], 50),
        ("America/New_York", "2026-03-08T05:00Z", ["07:00"], 46),
        ("America/New_York", "2026-11-01T04:00Z", ["07:30"], 50),
        ("Africa/Johannesburg", "2026-03-28T22:00Z", ["00:30"], 48),
    ],
)
@ensureDeferred
async def test_no_moment_is_lost_or_doubled_when_the_clock_is_moved(
    bench: Bench, zone: str, midnight: str, half_past_two: list[str], half_hours: int
) -> None:
    local = datetime.fromisoformat(midnight.replace("Z", "+00:00")).astimezone(ZoneInfo(zone))
    day = {"day_of_month": str(local.day), "month_of_year": str(local.month)}
    daily = bench.direct.schedule(minute="30", hour="2", **day)
    often = bench.direct.schedule(minute="*/30", **day)
    clocks = [bench.another_clock(ZoneInfo(zone)) for _ in range(2)]
    await clocks[0].one_pass()
    bench.direct.rows("UPDATE schedules SET next_tick_at = %s", midnight)
    await gatherResults([Deferred.fromCoroutine(clock.one_pass()) for clock in clocks])
    moments = bench.direct.rows(
        "SELECT schedule_id, to_char(due_at AT TIME ZONE 'UTC', 'HH24:MI') AS time FROM ticks"
        " WHERE due_at BETWEEN %s AND %s + interval '1 day 1 hour' ORDER BY due_at",
        *(local, local),
    )
    assert [row["time"] for row in moments if row["schedule_id"] == daily] == half_past_two
    assert len([row for row in moments if row["schedule_id"] == often]) == half_hours


@ensureDeferred
async def test_a_schedule_that_never_comes_due_is_left_alone(bench: Bench) -> None:
    schedule = bench.direct.schedule(day_of_month="30", month_of_year="2")
    assert await bench.clock.one_pass() == 1
    assert bench.schedule(schedule)["next_tick_at"] is None
    assert await bench.clock.one_pass() == 0


@ensureDeferred
async def test_many_schedules_are_wound_in_several_passes(bench: Bench) -> None:
    bench.direct.rows(
        "INSERT INTO schedules (minute) SELECT '*' FROM generate_series(1, %s)",
        SCHEDULES_PER_PASS + 5,
    )
    assert [await bench.clock.one_pass() for _ in range(3)] == [SCHEDULES_PER_PASS, 5, 0]


@ensureDeferred
async def test_a_failing_pass_ticks_for_nobody(bench: Bench, monkeypatch: Any) -> None:
    schedule = await bench.due()

    async def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("oh")

    with monkeypatch.context() as patched:
        patched.setattr(ticks, "set_next_tick", fail)
        with pytest.raises(RuntimeError):
            await bench.clock.one_pass()
    assert (bench.ticks(), bench.wakes) == ([], 0)
    await bench.clock.one_pass()
    assert bench.ticks() == [(schedule, "expanding")]


# Expansion


@define(eq=False, slots=False)
class Expanding:
    database: Database
    direct: Arranged

    def __attrs_post_init__(self) -> None:
        self.wakes = 0
        self.expansion = self.another()

    def another(self) -> Expansion:
        def wake() -> None:
            self.wakes += 1

        return Expansion(database=self.database, owed=wake)

    async def tick(self, members: int) -> int:
        schedule = self.direct.schedule()
        messageset = self.direct.messageset(f"set {schedule}", schedule)
        self.direct.subscriptions(members, messageset, schedule)
        await self.database.transact(ticks.open_tick, schedule_id=schedule)
        return schedule


@pytest.fixture
def expanding(database: Database, direct: Arranged) -> Expanding:
    return Expanding(database, direct)


@ensureDeferred
async def test_without_a_tick_there_is_nothing_to_expand(expanding: Expanding) -> None:
    assert await expanding.expansion.one_pass() == 0
    assert expanding.wakes == 0


@ensureDeferred
async def test_a_tick_without_members_is_work_but_wakes_nobody(expanding: Expanding) -> None:
    await expanding.tick(0)
    await expanding.tick(0)
    assert [await expanding.expansion.one_pass() for _ in range(3)] == [1, 1, 0]
    assert expanding.wakes == 0
    assert expanding.direct.value("SELECT count(*) FROM ticks WHERE state = 'expanded'") == 2


@ensureDeferred
async def test_a_large_tick_is_expanded_in_chunks(expanding: Expanding) -> None:
    await expanding.tick(CHUNK + 1)
    assert [await expanding.expansion.one_pass() for _ in range(3)] == [CHUNK, 1, 0]
    assert expanding.wakes == 2
    assert expanding.direct.value("SELECT count(*) FROM sends") == CHUNK + 1
    assert expanding.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_several_expansions_at_once_owe_everybody_one_send(expanding: Expanding) -> None:
    for _ in range(3):
        await expanding.tick(1200)  # all of them may wait at once
    several = [expanding.another() for _ in range(4)]
    while any(await gatherResults([Deferred.fromCoroutine(each.one_pass()) for each in several])):
        pass
    assert expanding.direct.value("SELECT count(DISTINCT subscription_id) FROM sends") == 3600
    assert expanding.direct.ledger() == []
    assert expanding.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_small_tick_has_its_turn_beside_a_large_one(
    expanding: Expanding, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sbm.pipeline.ticks.MOST_WAITING", 3 * CHUNK)
    large = await expanding.tick(2 * CHUNK + 5)
    await expanding.expansion.one_pass()
    small, last = await expanding.tick(3), await expanding.tick(2)
    chunks = [await expanding.expansion.one_pass() for _ in range(4)]
    assert chunks == [3, 2, CHUNK, 5]
    claimed = await expanding.database.transact(
        sends.claim, owner=uuid4(), limit=12, lease=timedelta(minutes=1)
    )
    assert Counter(send.schedule_id for send in claimed) == {large: 7, small: 3, last: 2}
    assert expanding.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_tick_is_not_expanded_further_while_enough_of_it_waits(
    expanding: Expanding, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sbm.pipeline.ticks.MOST_WAITING", CHUNK)
    await expanding.tick(CHUNK + 5)
    assert [await expanding.expansion.one_pass() for _ in range(2)] == [CHUNK, 0]
    # Sends that wait for a service, or were claimed, do not count.
    expanding.direct.rows(
        "UPDATE sends SET due_at = now() + interval '1 hour'"
        " WHERE id = (SELECT id FROM sends LIMIT 1)"
    )
    assert [await expanding.expansion.one_pass() for _ in range(2)] == [5, 0]
    assert expanding.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_tick_that_skips_everybody_wakes_nobody(expanding: Expanding) -> None:
    schedule = await expanding.tick(3)
    await expanding.expansion.one_pass()
    await expanding.database.transact(ticks.open_tick, schedule_id=schedule)
    assert await expanding.expansion.one_pass() == 3
    assert expanding.wakes == 1


@ensureDeferred
async def test_each_schedule_ticks_by_its_own_zone_over_a_daylight_saving_change(
    database: Database, direct: Arranged
) -> None:
    """Three days, an hour at a time; on the second, the clocks of Berlin are set forward."""
    wrong_clock = WrongClock(direct)
    berlin, joburg, default = (
        direct.schedule(minute="0", hour="8", **zone)
        for zone in ({"time_zone": "Europe/Berlin"}, {"time_zone": "Africa/Johannesburg"}, {})
    )
    now = direct.value("SELECT now()").astimezone(UTC)
    change = max(day for day in range(25, 32) if date(now.year + 1, 3, day).isoweekday() == 7)
    first = datetime(now.year + 1, 3, change - 1, tzinfo=UTC)
    skipped = (first + timedelta(seconds=30) - now).total_seconds()
    clock = Clock(
        database=database,
        mode=SchedulingMode(database=database, mode="builtin"),
        time_zones=TimeZones(default=UTC),
        grace=TickGrace(HOUR),
        ticked=lambda: None,
        clock=DatabaseClock(uptime=lambda: uptime() + skipped),
    )
    for _ in range(3 * 24):
        wrong_clock.set(skipped)
        await clock.one_pass()
        skipped += HOUR.total_seconds()
    due = {
        schedule: [
            (row["due_at"].astimezone(UTC) - first) // HOUR
            for row in direct.rows(
                "SELECT due_at FROM ticks WHERE schedule_id = %s AND state <> 'missed'"
                " ORDER BY due_at",
                schedule,
            )
        ]
        for schedule in (berlin, joburg, default)
    }
    assert due == {
        berlin: [7, 24 + 6, 48 + 6],
        joburg: [6, 24 + 6, 48 + 6],
        default: [8, 24 + 8, 48 + 8],
    }


@ensureDeferred
async def test_a_schedule_whose_zone_changes_is_wound_anew_without_a_tick(bench: Bench) -> None:
    schedule = await bench.due(minute="0", hour="3")
    other = bench.direct.schedule(minute="0", hour="3")
    await bench.clock.one_pass()
    for zone, hour in (("Africa/Johannesburg", 1), ("Asia/Tokyo", 18), (None, 3)):
        bench.direct.rows("UPDATE schedules SET time_zone = %s WHERE id = %s", zone, schedule)
        assert await bench.clock.one_pass() == 1
        row = bench.schedule(schedule)
        assert (row["next_tick_at"].astimezone(UTC).hour, row["is_ahead"]) == (hour, True)
        assert await bench.clock.one_pass() == 0
    assert bench.schedule(other)["next_tick_at"].astimezone(UTC).hour == 3
    assert {one for one, _ in bench.ticks()} <= {schedule}


@ensureDeferred
async def test_a_schedule_of_an_unknown_zone_stops_alone_and_is_wound_when_the_zone_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = bench.direct.schedule(time_zone="Europe/Berlin")
    good = await bench.due(time_zone="Europe/Berlin")
    bench.direct.rows("UPDATE schedules SET time_zone = 'Mars/Base' WHERE id = %s", lost)
    with capturedLogs() as logged:
        assert await bench.clock.one_pass() == 2
        assert await bench.clock.one_pass() == 0
    (line,) = (formatEvent(one) for one in logged if one["log_level"] is LogLevel.error)
    assert f"schedule {lost} is not due any more" in line
    assert "Mars/Base" in line
    assert [one for one, _ in bench.ticks()] == [good]
    assert bench.schedule(lost)["next_tick_at"] is None
    assert await bench.another_clock().one_pass() == 0
    monkeypatch.setattr(time_zones, "find_time_zone", lambda _: UTC)
    assert await bench.another_clock().one_pass() == 1
    assert bench.schedule(lost)["is_ahead"]
    assert [one for one, _ in bench.ticks()] == [good]
