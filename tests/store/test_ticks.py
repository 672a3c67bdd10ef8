"""The built-in clock's statements."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.store import ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.store.ticks import StaleSchedule
from tests.arrange import Arranged

UTC = ZoneInfo("UTC")
NOON = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)
TOMORROW = datetime.now(timezone.utc) + timedelta(days=1)


async def find(
    database: Database, time_zone: ZoneInfo = UTC, limit: int = 10
) -> list[StaleSchedule]:
    return await database.transact(ticks.find_stale, default_time_zone=time_zone, limit=limit)


async def set_next_tick(database: Database, schedule: int, at: datetime | None) -> None:
    await database.transact(
        ticks.set_next_tick, schedule_id=schedule, default_time_zone=UTC, next_tick_at=at
    )


@ensureDeferred
async def test_sends_of_two_ticks_of_one_moment_have_ids_of_their_own(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(2, direct.messageset("pregnancy", schedule), schedule)

    async def tick_twice(transaction: Transaction) -> None:
        """At the same time, as they are in one transaction."""
        for _ in range(2):
            await ticks.open_tick(transaction, schedule_id=schedule)
            assert await ticks.expand(transaction, limit=10)

    await database.transact(tick_twice)
    ids = direct.rows("SELECT send_id FROM ledger UNION ALL SELECT id FROM sends")
    assert len({row["send_id"] for row in ids}) == len(ids) == 4
    (first, second) = direct.rows("SELECT due_at, repetition FROM ticks ORDER BY id")
    assert first["due_at"] == second["due_at"]
    assert (first["repetition"] is None, second["repetition"] is None) == (True, False)


@ensureDeferred
async def test_a_new_schedule_is_found_with_its_fields_and_nothing_is_due(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule(minute="1", hour="2", day_of_week="3", day_of_month="4")
    (found,) = await find(database)
    assert (found.schedule_id, found.due_since) == (schedule, None)
    assert found.cron is not None
    assert (found.cron.minute, found.cron.hour, found.cron.month_of_year) == ("1", "2", "*")
    assert (found.cron.day_of_week, found.cron.day_of_month) == ("3", "4")


@ensureDeferred
async def test_now_is_what_the_database_says(database: Database, direct: Arranged) -> None:
    direct.schedule()
    before = direct.value("SELECT clock_timestamp()")
    (found,) = await find(database)
    assert before <= found.now <= direct.value("SELECT clock_timestamp()")


@ensureDeferred
async def test_a_wound_schedule_is_found_when_it_is_due(
    database: Database, direct: Arranged
) -> None:
    ahead, due = direct.schedule(), direct.schedule()
    await set_next_tick(database, ahead, TOMORROW)
    await set_next_tick(database, due, NOON)
    (found,) = await find(database)
    assert (found.schedule_id, found.due_since) == (due, NOON)


@ensureDeferred
async def test_what_a_later_transaction_has_set_was_not_set_by_a_wrong_clock(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()

    async def overtaken(transaction: Transaction) -> list[StaleSchedule]:
        await transaction.begin()  # which is its now()
        await set_next_tick(database, schedule, TOMORROW)
        return await ticks.find_stale(transaction, default_time_zone=UTC, limit=10)

    assert await database.transact(overtaken) == []


@ensureDeferred
async def test_a_schedule_that_never_comes_due_is_not_found_again(
    database: Database, direct: Arranged
) -> None:
    await set_next_tick(database, direct.schedule(), None)
    assert await find(database) == []


@ensureDeferred
async def test_every_field_and_the_zone_are_part_of_the_rule(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year"):
        await set_next_tick(database, schedule, NOON)
        direct.rows(f"UPDATE schedules SET {name} = '1'")  # noqa: S608
        (found,) = await find(database)
        assert found.due_since is None, name
    await set_next_tick(database, schedule, NOON)
    (found,) = await find(database, ZoneInfo("Africa/Johannesburg"))
    assert found.due_since is None


@ensureDeferred
async def test_the_version_is_part_of_the_rule_and_the_first_one_had_none(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    for rule, due_since in (("v2 ", NOON), ("", NOON), ("v1 ", None), ("v3 ", None)):
        await set_next_tick(database, schedule, NOON)
        direct.rows(
            "UPDATE schedules SET next_tick_rule ="
            " %s || substr(next_tick_rule, strpos(next_tick_rule, ' ') + 1)",
            rule,
        )
        (found,) = await find(database)
        assert found.due_since == due_since, rule
    await set_next_tick(database, schedule, TOMORROW)
    assert await find(database) == []
    direct.rows("UPDATE schedules SET next_tick_rule = replace(next_tick_rule, 'v2 ', '')")
    assert len(await find(database)) == 1


@ensureDeferred
async def test_fields_that_change_places_are_another_rule(
    database: Database, direct: Arranged
) -> None:
    await set_next_tick(database, direct.schedule(minute="5"), TOMORROW)
    direct.rows("UPDATE schedules SET minute = hour, hour = minute")
    assert len(await find(database)) == 1


@ensureDeferred
async def test_fields_that_cannot_be_read_are_found_as_such(
    database: Database, direct: Arranged
) -> None:
    direct.schedule(minute="61")
    (found,) = await find(database)
    assert found.cron is None


@ensureDeferred
async def test_no_more_are_found_than_asked_for_the_oldest_first(
    database: Database, direct: Arranged
) -> None:
    schedules = [direct.schedule() for _ in range(5)]
    assert [found.schedule_id for found in await find(database, limit=3)] == schedules[:3]


@ensureDeferred
async def test_while_one_clock_winds_others_step_over_and_nobody_else_waits(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    locked, done = Deferred[None](), Deferred[None]()

    async def hold(transaction: Transaction) -> None:
        await ticks.find_stale(transaction, default_time_zone=UTC, limit=10)
        locked.callback(None)
        await done

    holder = Deferred.fromCoroutine(database.transact(hold))
    await locked
    assert await find(database) == []
    direct.rows("SET lock_timeout = '2s'")
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    done.callback(None)
    await holder
    assert len(await find(database)) == 1


@ensureDeferred
async def test_a_moment_ticks_once(database: Database, direct: Arranged) -> None:
    schedule, other = direct.schedule(), direct.schedule()

    async def tick(schedule: int, due_at: datetime) -> bool:
        return await database.transact(ticks.open_clock_tick, schedule_id=schedule, due_at=due_at)

    async def miss(*moments: datetime) -> None:
        await database.transact(ticks.record_missed, schedule_id=schedule, moments=moments)

    later = NOON + timedelta(minutes=1)
    assert await tick(schedule, NOON)
    assert not await tick(schedule, NOON)
    assert await tick(other, NOON)
    await miss(NOON, later)
    await miss(later)
    assert not await tick(schedule, later)
    states = direct.rows("SELECT schedule_id, state FROM ticks ORDER BY id")
    assert [(row["schedule_id"], row["state"]) for row in states] == [
        (schedule, "expanding"),
        (other, "expanding"),
        (schedule, "missed"),
    ]


@ensureDeferred
async def test_a_missed_tick_is_never_expanded(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(3, direct.messageset("pregnancy", schedule), schedule)
    await database.transact(ticks.record_missed, schedule_id=schedule, moments=[NOON])
    assert await database.transact(ticks.expand, limit=100) is None


@ensureDeferred
async def test_a_post_back_beside_the_clock_s_tick_is_a_tick_of_its_own(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    await database.transact(ticks.open_clock_tick, schedule_id=schedule, due_at=NOON)
    first = await database.transact(ticks.open_tick, schedule_id=schedule)
    second = await database.transact(ticks.open_tick, schedule_id=schedule)
    assert None not in (first, second)
    assert first != second
    assert direct.value("SELECT count(*) FROM ticks") == 3
