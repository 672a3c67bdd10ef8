from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from pytest_twisted import ensureDeferred

from sbm.model.time_zones import TimeZones
from sbm.operations.schedule_runs import forget, prepare
from sbm.store.postgres.database import Database
from sbm.store.schedule_runs import RunFilter
from tests.arrange import Arranged

BEGAN = datetime(2026, 1, 5, 7, 30, tzinfo=timezone.utc)
ZONES = TimeZones(default=ZoneInfo("Africa/Johannesburg"))


@ensureDeferred
async def test_the_runs_that_matter_begin_with_the_oldest_who_is_meant_and_end_with_the_moment(
    database: Database, direct: Arranged
) -> None:
    daily = direct.schedule(minute="0", hour="8")
    pregnancy = direct.messageset("pregnancy", daily)
    baby = direct.messageset("baby", daily)
    for messageset, later in ((pregnancy, 0), (baby, 3)):
        (one,) = direct.subscriptions(1, messageset, daily)
        moment = BEGAN + timedelta(days=later)
        direct.rows("UPDATE subscriptions SET created_at = %s WHERE id = %s", moment, one)
    (completed,) = direct.subscriptions(1, pregnancy, daily)
    direct.rows(
        "UPDATE subscriptions SET created_at = '2020-01-01', active = false, completed = true"
        " WHERE id = %s",
        completed,
    )
    until = BEGAN.replace(hour=6, minute=0) + timedelta(days=5)
    everybody = await prepare(database, zones=ZONES, as_of=until)
    babies = await prepare(database, zones=ZONES, as_of=until, wanted=RunFilter(messageset_id=baby))
    runs = {
        one.id: direct.rows(
            "SELECT number, run_at FROM schedule_runs WHERE search_id = %s ORDER BY number",
            one.id,
        )
        for one in (everybody, babies)
    }
    # In Johannesburg it is half past nine when they begin, and the moment itself counts.
    days = [until - timedelta(days=day) for day in range(4, -1, -1)]
    assert [row["run_at"] for row in runs[everybody.id]] == days
    assert [(row["number"], row["run_at"]) for row in runs[babies.id]] == [
        (1, days[3]),
        (2, days[4]),
    ]
    assert (everybody.size, babies.size) == (3, 3)


@ensureDeferred
async def test_what_a_search_that_died_has_left_is_forgotten_by_a_later_one(
    database: Database, direct: Arranged
) -> None:
    daily = direct.schedule(minute="0", hour="8")
    direct.subscriptions(1, direct.messageset("pregnancy", daily), daily)
    direct.rows("UPDATE subscriptions SET created_at = now() - interval '3 days'")
    died = await prepare(database, zones=ZONES)
    direct.rows("UPDATE searches SET began_at = now() - interval '25 hours'")
    alive, other = await prepare(database, zones=ZONES), await prepare(database, zones=ZONES)
    await forget(database, runs_id=other.id)
    for table, column in (("searches", "id"), ("schedule_runs", "search_id")):
        left = direct.rows(f"SELECT DISTINCT {column} AS id FROM {table}")  # noqa: S608
        assert [row["id"] for row in left] == [alive.id]
    assert died.id not in (alive.id, other.id)


@ensureDeferred
async def test_the_runs_of_a_schedule_with_both_days_are_those_that_match_both(
    database: Database, direct: Arranged
) -> None:
    first_mondays = direct.schedule(minute="0", hour="8", day_of_month="1-7", day_of_week="1")
    (one,) = direct.subscriptions(1, direct.messageset("set", first_mondays), first_mondays)
    direct.rows("UPDATE subscriptions SET created_at = %s WHERE id = %s", BEGAN, one)
    await prepare(database, zones=ZONES, as_of=BEGAN + timedelta(days=100))
    runs = [row["run_at"] for row in direct.rows("SELECT run_at FROM schedule_runs ORDER BY 1")]
    assert [f"{run:%d %b}" for run in runs] == ["02 Feb", "02 Mar", "06 Apr"]


@ensureDeferred
async def test_each_schedule_runs_by_its_own_zone(database: Database, direct: Arranged) -> None:
    default = direct.schedule(minute="0", hour="8")
    berlin = direct.schedule(minute="0", hour="8", time_zone="Europe/Berlin")
    lost = direct.schedule(minute="0", hour="8", time_zone="Mars/Base")
    messageset = direct.messageset("pregnancy", default)
    (one,) = direct.subscriptions(1, messageset, default)
    began = datetime(2026, 3, 28, 0, 0, tzinfo=timezone.utc)
    direct.rows("UPDATE subscriptions SET created_at = %s WHERE id = %s", began, one)
    search = await prepare(database, zones=ZONES, as_of=began + timedelta(days=2))
    hours = {
        schedule: [
            (row["run_at"] - began) // timedelta(hours=1)
            for row in direct.rows(
                "SELECT run_at FROM schedule_runs WHERE search_id = %s AND schedule_id = %s"
                " ORDER BY number",
                search.id,
                schedule,
            )
        ]
        for schedule in (default, berlin, lost)
    }
    # On the second day, the clocks of Berlin were set forward.
    assert hours == {default: [6, 30], berlin: [7, 30], lost: []}


@ensureDeferred
async def test_the_runs_for_named_subscriptions_are_those_since_they_began(
    database: Database, direct: Arranged
) -> None:
    daily = direct.schedule(minute="0", hour="8")
    old, new = direct.subscriptions(2, direct.messageset("pregnancy", daily), daily)
    direct.rows("UPDATE subscriptions SET created_at = '2020-01-01' WHERE id = %s", old)
    direct.rows("UPDATE subscriptions SET created_at = %s WHERE id = %s", BEGAN, new)
    until = BEGAN + timedelta(days=2)
    named = await prepare(database, zones=ZONES, as_of=until, wanted=RunFilter(ids=[new]))
    runs = direct.value("SELECT count(*) FROM schedule_runs WHERE search_id = %s", named.id)
    assert (runs, named.size) == (2, 1)
