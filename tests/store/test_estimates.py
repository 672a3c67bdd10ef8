from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

from pytest_twisted import ensureDeferred

from sbm.model.time_zones import TimeZones
from sbm.store import estimates
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

DAY = date(2026, 3, 1)


@ensureDeferred
async def test_subscriptions_and_identities_are_counted_by_message_set(
    database: Database, direct: Arranged
) -> None:
    due, other = direct.schedule(), direct.schedule()
    pregnancy = direct.messageset("pregnancy", due)
    baby = direct.messageset("baby", other)
    twice, _duplicate, *_rest = direct.subscriptions(5, pregnancy, due)
    direct.rows(
        "UPDATE subscriptions SET identity = 'same' WHERE id IN (%s, %s)", twice, _duplicate
    )
    direct.subscriptions(4, pregnancy, other)
    direct.subscriptions(2, baby, other)
    for change in ("active = false", "completed = true", "process_status = -1"):
        (one,) = direct.subscriptions(1, pregnancy, due)
        direct.rows(f"UPDATE subscriptions SET {change} WHERE id = %s", one)  # noqa: S608
    await database.transact(estimates.estimate, send_date=DAY, schedules=[due])
    count, found = await database.transact(estimates.list_page, limit=10, offset=0)
    assert count == 2
    assert [
        (one.send_date, one.messageset_id, one.estimate_subscriptions, one.estimate_identities)
        for one in found
    ] == [(DAY, pregnancy, 5, 4), (DAY, baby, 0, 0)]


@ensureDeferred
async def test_a_day_is_estimated_anew(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    pregnancy = direct.messageset("pregnancy", schedule)
    direct.subscriptions(3, pregnancy, schedule)
    await database.transact(estimates.estimate, send_date=DAY, schedules=[schedule])
    await database.transact(estimates.estimate, send_date=DAY, schedules=[])
    _, (found,) = await database.transact(estimates.list_page, limit=10, offset=0)
    assert (found.estimate_subscriptions, found.estimate_identities) == (0, 0)


@ensureDeferred
async def test_schedules_that_cannot_be_read_are_left_out(
    database: Database, direct: Arranged
) -> None:
    good = direct.schedule(minute="5")
    direct.schedule(minute="nonsense")
    now, crons = await database.transact(
        estimates.find_crons, zones=TimeZones(default=ZoneInfo("UTC"))
    )
    assert now is not None
    assert set(crons) == {good}


@ensureDeferred
async def test_each_schedule_has_its_zone_and_one_of_an_unknown_zone_is_left_out(
    database: Database, direct: Arranged
) -> None:
    default, tokyo = direct.schedule(), direct.schedule(time_zone="Asia/Tokyo")
    direct.schedule(time_zone="Mars/Base")
    zones = TimeZones(default=ZoneInfo("Africa/Johannesburg"))
    _, crons = await database.transact(estimates.find_crons, zones=zones)
    assert {one: crons[one].time_zone.key for one in crons} == {
        default: "Africa/Johannesburg",
        tokyo: "Asia/Tokyo",
    }
