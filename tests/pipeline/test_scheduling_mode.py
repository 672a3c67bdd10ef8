"""What is recorded and said about the way of scheduling when a daemon starts."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pytest_twisted import ensureDeferred
from twisted.logger import capturedLogs, formatEvent

from sbm.model.scheduler_call import Scheduling
from sbm.model.time_zones import TimeZones
from sbm.pipeline.scheduling_mode import NAMED, SchedulingMode
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

ZONE = ZoneInfo("Africa/Johannesburg")


async def said(database: Database, mode: Scheduling, scheduler: ZoneInfo | None) -> list[str]:
    """The lines about time zones, of the first two passes after a start."""
    starting = SchedulingMode(
        database=database, mode=mode, zones=TimeZones(default=ZoneInfo("UTC"), scheduler=scheduler)
    )
    with capturedLogs() as logged:
        await starting.one_pass()
        await starting.one_pass()
    lines = [str(formatEvent(event)) for event in logged]
    return [line for line in lines if "time zones" in line]


@ensureDeferred
async def test_time_zones_that_do_not_count_are_told_once(
    database: Database, direct: Arranged
) -> None:
    direct.schedule()
    direct.schedule(time_zone=ZONE.key)
    assert await said(database, "schedule", ZONE) == []
    other = direct.schedule(time_zone="Europe/Berlin")
    (line,) = await said(database, "schedule", ZONE)
    assert "of 1 schedules do not count" in line
    assert line.endswith(f"in {ZONE.key}: schedules {other}")
    assert await said(database, "builtin", None) == []


@ensureDeferred
async def test_of_many_schedules_only_the_first_are_named(
    database: Database, direct: Arranged
) -> None:
    ids = [direct.schedule(time_zone="Europe/Berlin") for _ in range(NAMED + 2)]
    (line,) = await said(database, "subscription", ZONE)
    assert f"of {len(ids)} schedules" in line
    assert line.endswith(f"schedules {', '.join(map(str, ids[:NAMED]))} and others")
