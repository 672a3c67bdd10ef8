"""Ticks that did not come are noticed, in each scheduling mode."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from sbm.model.durations import TickGrace
from sbm.model.scheduler_call import Scheduling
from sbm.model.tick_times import Expectations
from sbm.operations.status import read
from sbm.pipeline.upkeep.tick_watch import TickWatch
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from tests.arrange import Arranged


class Bench:
    """A schedule that is due each hour, and the watch in one mode."""

    def __init__(self, database: Database, direct: Arranged) -> None:
        self.database = database
        self.direct = direct
        self.schedule = direct.schedule(minute="0", hour="*")
        self.telemetry = Telemetry()

    async def look(self, mode: str) -> tuple[str, list[int]]:
        """The reason, and the overdue schedules."""
        await self.watch(mode).one_pass()
        assert self.telemetry.ticks is not None
        return self.telemetry.reasons["ticks"], list(self.telemetry.ticks.overdue)

    def watch(self, mode: str) -> TickWatch:
        self.by = Expectations(
            mode=cast(Scheduling, mode),
            time_zone=ZoneInfo("UTC"),
            grace=TickGrace(timedelta(minutes=10)),
        )
        return TickWatch(
            reactor=reactor, database=self.database, telemetry=self.telemetry, by=self.by
        )

    def told(self, kind: str, target: Any, *, hours: int) -> None:
        self.direct.rows(
            "INSERT INTO scheduler_schedules (kind, target, remote_id, cron_definition, made_with,"
            " enabled, told_at) VALUES (%s, %s, %s, '0 * * * *', '0 * * * *', true,"
            " now() - make_interval(hours => %s)) RETURNING 1",
            kind,
            str(target),
            f"remote {target}",
            hours,
        )


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


def metric(bench: Bench, name: str) -> float | None:
    return bench.telemetry.measured(name, schedule=str(bench.schedule))


@ensureDeferred
async def test_a_clock_that_stands_still_is_noticed(bench: Bench) -> None:
    set_to = "UPDATE schedules SET next_tick_at = now() - make_interval(mins => %s) RETURNING 1"
    bench.direct.rows(set_to, 9)
    assert await bench.look("builtin") == ("", [])
    assert metric(bench, "schedule.overdue") == 0
    bench.direct.rows(set_to, 11)
    reason, overdue = await bench.look("builtin")
    assert f"schedule {bench.schedule} has not ticked" in reason
    assert overdue == [bench.schedule]
    assert metric(bench, "schedule.overdue") == 1
    assert metric(bench, "schedule.next_tick_at") is not None
    assert metric(bench, "schedule.last_tick_at") is None


@ensureDeferred
async def test_a_scheduler_that_does_not_call_is_noticed(bench: Bench) -> None:
    assert await bench.look("schedule") == ("", [])
    bench.told("schedule", bench.schedule, hours=3)
    _, overdue = await bench.look("schedule")
    assert overdue == [bench.schedule]
    bench.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at)"
        " VALUES ('post-back', 'expanded', %s, now()) RETURNING 1",
        bench.schedule,
    )
    assert await bench.look("schedule") == ("", [])
    assert metric(bench, "schedule.last_tick_at") is not None


@pytest.mark.parametrize(("came", "is_enough"), [(23, False), (24, True)])
@ensureDeferred
async def test_fewer_than_half_of_the_calls_for_subscriptions_are_noticed(
    bench: Bench, came: int, is_enough: bool
) -> None:
    bench.told("subscription", "a", hours=48)
    bench.told("subscription", "b", hours=48)
    bench.told("subscription", "young", hours=3)
    bench.direct.rows(
        "INSERT INTO ticks (source, state, due_at, shard, triggers)"
        " VALUES ('single', 'expanded', now() - interval '1 hour', 1, %s) RETURNING 1",
        came,
    )
    reason, overdue = await bench.look("subscription")
    assert (reason == "", overdue) == (is_enough, [])
    if not is_enough:
        assert reason == f"only {came} of 48 calls of the Scheduler came in the last day"


@ensureDeferred
async def test_the_ticks_of_a_day_are_counted(bench: Bench) -> None:
    bench.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at, created_at) VALUES"
        " ('clock', 'expanded', %s, now() - interval '5 minutes', now()),"
        " ('clock', 'expanded', %s, now(), now()),"
        " ('clock', 'missed', %s, now() - interval '1 hour', now()),"
        " ('clock', 'expanded', %s, now() - interval '2 days', now() - interval '2 days')"
        " RETURNING 1",
        *[bench.schedule] * 4,
    )
    await bench.look("builtin")
    counts = {
        kind: bench.telemetry.measured("ticks.of_day", kind=kind)
        for kind in ("opened", "late", "missed")
    }
    assert counts == {"opened": 2, "late": 1, "missed": 1}


@ensureDeferred
async def test_a_schedule_that_is_deleted_has_no_metrics_any_more(bench: Bench) -> None:
    bench.direct.rows("UPDATE schedules SET next_tick_at = now() RETURNING 1")
    await bench.look("builtin")
    assert metric(bench, "schedule.overdue") == 0
    bench.direct.rows("DELETE FROM schedules RETURNING 1")
    await bench.look("builtin")
    assert metric(bench, "schedule.overdue") is None


@ensureDeferred
async def test_the_status_has_the_same(bench: Bench) -> None:
    bench.told("schedule", bench.schedule, hours=3)
    _, (overdue,) = await bench.look("schedule")
    status = await bench.database.transact(read, bench.by)
    (schedule,) = status.schedules
    assert schedule.schedule_id == overdue
    assert schedule.overdue_since is not None
    assert not status.is_sending


@pytest.mark.parametrize(
    ("role", "age", "pause", "is_away", "reason"),
    [
        ("pipeline", 0, "", False, ""),
        ("all", 0, "", True, "away for a daemon: message sender"),
        ("api", 0, "", False, "no daemon sends: none lives, or all are paused"),
        ("all", 90, "", False, "no daemon sends: none lives, or all are paused"),
        ("all", 0, "SBM_PAUSED is set", False, "no daemon sends: none lives, or all are paused"),
    ],
)
@ensureDeferred
async def test_what_keeps_all_daemons_from_sending_is_noticed(
    bench: Bench, role: str, age: int, pause: str, is_away: bool, reason: str
) -> None:
    bench.direct.rows(
        "INSERT INTO daemons (id, role, version, host, pid, since, seen_at, pause, services)"
        " VALUES (gen_random_uuid(), %s, '1', 'here', 1, now(),"
        " now() - make_interval(secs => %s), %s, %s) RETURNING 1",
        role,
        age,
        pause,
        json.dumps({"message_sender": {"is_away": is_away, "reason": "500", "next_try": None}}),
    )
    watch = bench.watch("builtin")
    await watch.one_pass()
    assert "daemons" not in bench.telemetry.reasons
    await watch.one_pass()
    assert bench.telemetry.reasons["daemons"] == reason
