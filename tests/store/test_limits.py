"""Hours, ages, rates, brakes and canaries: what they hold back, and what they skip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.hold import HoldReason
from sbm.model.send import GivenBack, Send, Settled, Unknown
from sbm.store import gauges, paces, sends, ticks, watched_ticks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

LEASE = timedelta(seconds=60)
SENT = Settled(outcome="sent", stage="post", outbound_id="1")
REFUSED = Settled(outcome="refused", stage="post", reason="no")
SKIPPED = Settled(outcome="skipped", stage="trigger", reason="no more")


async def claim(database: Database, owner: UUID | None = None, limit: int = 1000) -> list[Send]:
    return await database.transact(sends.claim, owner=owner or uuid4(), limit=limit, lease=LEASE)


async def settle(database: Database, claimed: Sequence[Send], result: Settled = SENT) -> None:
    await database.transact(sends.settle, results=[(send, result) for send in claimed])


async def tick(database: Database, schedule: int) -> int:
    tick_id = await database.transact(ticks.open_tick, schedule_id=schedule)
    assert tick_id is not None
    await expand(database)
    return tick_id


async def expand(database: Database) -> None:
    after = 0
    while (chunk := await database.transact(ticks.expand, limit=1000, after=after)) is not None:
        after = chunk.tick_id


def arrange(direct: Arranged, count: int, **limits: object) -> tuple[int, int]:
    """A schedule with these limits, a set, and so many members."""
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule)
    direct.subscriptions(count, messageset, schedule)
    if limits:
        names = ", ".join(f"{name} = %s" for name in limits)
        direct.rows(f"UPDATE schedules SET {names}", *limits.values())  # noqa: S608
    return schedule, messageset


def set_limit(direct: Arranged, table: str, **limits: object) -> None:
    for name, value in limits.items():
        direct.rows(f"UPDATE {table} SET {name} = %s", value)  # noqa: S608


async def holds(database: Database) -> Counter[HoldReason | None]:
    found: Counter[HoldReason | None] = Counter()
    for one in await database.transact(gauges.measure_sends):
        found[one.hold] += one.count if one.state == "owed" else 0
    return found


def hours(start: timedelta, end: timedelta) -> str:
    """Hours that begin and end so long from now, in UTC."""
    now = datetime.now(timezone.utc)
    return f"{now + start:%H:%M}-{now + end:%H:%M}"


HOUR = timedelta(hours=1)


# Hours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "zone", "at", "left"),
    [
        ("08:00-20:00", "UTC", "2026-06-01T08:00Z", "12:00:00"),
        ("08:00-20:00", "UTC", "2026-06-01T19:59:59Z", "0:00:01"),
        ("08:00-20:00", "UTC", "2026-06-01T20:00Z", "0:00:00"),
        ("08:00-20:00", "UTC", "2026-06-01T07:59Z", "0:00:00"),
        ("20:00-06:00", "UTC", "2026-06-01T23:00Z", "7:00:00"),
        ("20:00-06:00", "UTC", "2026-06-01T05:00Z", "1:00:00"),
        ("20:00-06:00", "UTC", "2026-06-01T06:00Z", "0:00:00"),
        ("18:00-24:00", "UTC", "2026-06-01T23:00Z", "1:00:00"),
        ("18:00-24:00", "UTC", "2026-06-01T00:00Z", "0:00:00"),
        ("00:00-24:00", "UTC", "2026-06-01T12:00Z", "12:00:00"),
        ("08:00-20:00", "Africa/Johannesburg", "2026-06-01T06:00Z", "12:00:00"),
        ("08:00-20:00", "Africa/Johannesburg", "2026-06-01T18:00Z", "0:00:00"),
        # The night in which clocks are set: an hour less, and an hour more.
        ("00:00-06:00", "Europe/Berlin", "2026-03-28T23:00Z", "5:00:00"),
        ("00:00-06:00", "Europe/Berlin", "2026-10-24T22:00Z", "7:00:00"),
        ("08:00-20:00", "No/Such_Zone", "2026-06-01T08:00Z", "12:00:00"),
    ],
)
def test_how_long_messages_may_leave(
    direct: Arranged, text: str, zone: str, at: str, left: str
) -> None:
    found = direct.value("SELECT hours_left(%s, %s, %s::timestamptz)", text, zone, at)
    assert str(found) == left


@pytest.mark.parametrize("text", ["8:00-20:00", "08:00", "08:00-08:00", "08:00-25:00", "x", ""])
def test_hours_that_are_none_are_not_stored(direct: Arranged, text: str) -> None:
    schedule = direct.schedule()
    with pytest.raises(Exception, match="send_hours"):
        direct.rows("UPDATE schedules SET send_hours = %s WHERE id = %s", text, schedule)


@pytest.mark.parametrize("table", ["schedules", "messagesets"])
@ensureDeferred
async def test_outside_its_hours_nothing_is_claimed_or_expanded(
    database: Database, direct: Arranged, table: str
) -> None:
    schedule, _ = arrange(direct, 3)
    await tick(database, schedule)
    set_limit(direct, table, send_hours=hours(HOUR, 2 * HOUR))
    assert await claim(database) == []
    assert await holds(database) == {"hours": 3}
    set_limit(direct, table, send_hours=hours(-HOUR, HOUR))
    claimed = await claim(database)
    assert len(claimed) == 3
    assert all(send.leaves_for is not None and 0 < send.leaves_for <= 3660 for send in claimed)


@ensureDeferred
async def test_the_hours_are_those_of_the_time_zone_of_the_schedule(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 1)
    await tick(database, schedule)
    # In the zone of Kiritimati, it is 14 hours later than in UTC.
    set_limit(direct, "schedules", send_hours=hours(13 * HOUR, 15 * HOUR))
    assert await claim(database) == []
    set_limit(direct, "schedules", time_zone="Pacific/Kiritimati")
    assert len(await claim(database)) == 1


@ensureDeferred
async def test_a_zone_that_does_not_count_beside_a_scheduler_does_not_count_for_hours(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 1, time_zone="Pacific/Kiritimati")
    await tick(database, schedule)
    set_limit(direct, "schedules", send_hours=hours(-HOUR, HOUR))
    assert await claim(database) == []
    direct.rows("UPDATE scheduling SET mode = 'schedule', scheduler_time_zone = 'UTC'")
    assert len(await claim(database)) == 1


# Age --------------------------------------------------------------------------------------------


def grow_older(direct: Arranged, by: str) -> None:
    """All that was asked for before was asked for so much earlier."""
    direct.rows("UPDATE ticks SET created_at = created_at - %s::interval", by)
    direct.rows(
        "UPDATE sends SET owed_at = owed_at - %s::interval, wanted_at = wanted_at - %s::interval",
        *(by, by),
    )
    direct.rows(
        "UPDATE subscriptions SET created_at = created_at - %s::interval,"
        " joined_at = joined_at - %s::interval",
        *(by, by),
    )


@pytest.mark.parametrize("table", ["schedules", "messagesets"])
@ensureDeferred
async def test_what_is_too_old_is_claimed_to_be_skipped(
    database: Database, direct: Arranged, table: str
) -> None:
    schedule, _ = arrange(direct, 2)
    set_limit(direct, table, max_age=3600)
    await tick(database, schedule)
    (young,) = await claim(database, limit=1)
    grow_older(direct, "61 minutes")
    (old,) = await claim(database)
    assert (young.is_too_old, old.is_too_old) == (False, True)


@ensureDeferred
async def test_members_of_a_tick_that_is_too_old_are_skipped(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 2, max_age=3600)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    grow_older(direct, "61 minutes")
    await expand(database)
    assert {row["reason"] for row in direct.ledger()} == {"it is older than max_age"}
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_tick_that_is_expanded_late_is_as_old_as_it_is(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 1, max_age=3600)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    grow_older(direct, "59 minutes")
    await expand(database)
    grow_older(direct, "2 minutes")
    (send,) = await claim(database)
    assert send.is_too_old


@ensureDeferred
async def test_a_later_tick_asks_again_so_that_each_person_gets_one_message(
    database: Database, direct: Arranged
) -> None:
    """An outage from the first tick to after the second one, longer than the age."""
    schedule, _ = arrange(direct, 3, max_age=3600)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    await database.transact(ticks.expand, limit=1)
    grow_older(direct, "1 day")
    await database.transact(ticks.open_tick, schedule_id=schedule)
    sent = []
    while claimed := [*(await claim(database)), *(await expand_and_claim(database))]:
        await settle(database, claimed)
        sent += claimed
    assert [send.is_too_old for send in sent] == [False] * 3
    assert len({send.subscription_id for send in sent}) == 3
    assert direct.unbalanced_ticks() == []


async def expand_and_claim(database: Database) -> list[Send]:
    await expand(database)
    return await claim(database)


@ensureDeferred
async def test_a_later_trigger_asks_again_for_a_single_send(
    database: Database, direct: Arranged
) -> None:
    arrange(direct, 2, max_age=3600)
    first, second = (row["id"] for row in direct.rows("SELECT id FROM subscriptions"))
    for person in (first, second):
        await database.transact(sends.owe, subscription_id=person)
    grow_older(direct, "1 day")
    again = await database.transact(sends.owe, subscription_id=first)
    assert not again.accepted
    old = {send.subscription_id: send.is_too_old for send in await claim(database)}
    assert old == {first: False, second: True}


# Rate -------------------------------------------------------------------------------------------


@ensureDeferred
async def test_a_daemon_claims_what_may_leave_in_two_seconds(
    database: Database, direct: Arranged
) -> None:
    schedule, messageset = arrange(direct, 50, max_rate=5)
    other = direct.schedule()
    direct.subscriptions(30, messageset, other)
    await tick(database, schedule)
    await tick(database, other)
    owner = uuid4()
    claimed = await claim(database, owner)
    assert Counter(send.schedule_id for send in claimed) == {schedule: 10, other: 30}
    assert {send.max_rate for send in claimed if send.schedule_id == schedule} == {5}
    assert await claim(database, owner) == []
    assert len(await claim(database)) == 10  # another daemon
    await settle(database, [send for send in claimed if send.schedule_id == schedule][:4])
    assert len(await claim(database, owner)) == 4


@ensureDeferred
async def test_no_two_daemons_reserve_the_same_moment(database: Database) -> None:
    reserved: list[float] = []
    for _ in range(4):
        found = await database.transact(
            paces.reserve,
            schedule_id=7,
            schedule_rate=100,
            overall_rate=None,
            wanted=10,
            soonest=timedelta(0),
            ahead=timedelta(seconds=5),
        )
        assert found.count == 10
        reserved += [found.first_at + number * found.spacing for number in range(10)]
    # All 40 moments are apart by a hundredth of a second, if nothing but the database counts.
    gaps = [later - sooner for sooner, later in pairwise(reserved)]
    assert gaps == pytest.approx([0.01] * 39, abs=1e-5)


@ensureDeferred
async def test_moments_are_not_reserved_far_ahead(database: Database) -> None:
    async def reserve(wanted: int, rate: int = 10) -> paces.Moments:
        return await database.transact(
            paces.reserve,
            schedule_id=7,
            schedule_rate=rate,
            overall_rate=None,
            wanted=wanted,
            soonest=timedelta(0),
            ahead=timedelta(seconds=0.5),
        )

    assert (await reserve(100)).count in (5, 6)
    assert (await reserve(100)).count <= 1


@ensureDeferred
async def test_a_moment_that_a_wrong_clock_wrote_delays_nothing(
    database: Database, direct: Arranged
) -> None:
    direct.rows("INSERT INTO paces VALUES (7, now() + interval '1 day')")
    found = await database.transact(
        paces.reserve,
        schedule_id=7,
        schedule_rate=10,
        overall_rate=None,
        wanted=1,
        soonest=timedelta(seconds=0.25),
        ahead=timedelta(seconds=0.5),
    )
    assert found.count == 1
    assert found.first_at - found.now == pytest.approx(0.25, abs=1e-5)


@ensureDeferred
async def test_both_rates_are_kept(database: Database, direct: Arranged) -> None:
    for schedule in (7, 8):
        found = await database.transact(
            paces.reserve,
            schedule_id=schedule,
            schedule_rate=100,
            overall_rate=10,
            wanted=1,
            soonest=timedelta(0),
            ahead=timedelta(seconds=5),
        )
        assert found.spacing == pytest.approx(0.1)
    assert found.first_at - found.now == pytest.approx(0.1, abs=0.09)
    assert direct.value("SELECT count(*) FROM paces") == 3


# Brake and canary ---------------------------------------------------------------------------------


@ensureDeferred
async def test_after_its_canary_a_tick_waits_for_a_person(
    database: Database, direct: Arranged
) -> None:
    schedule, messageset = arrange(direct, 30, canary=10)
    tick_id = await tick(database, schedule)
    first = await claim(database)
    assert len(first) == 10
    assert await claim(database) == []  # they are in hand
    await settle(database, first[:2], SKIPPED)  # they do not count
    more = await claim(database)
    assert len(more) == 2
    await settle(database, [*first[2:], *more])
    assert await claim(database) == []
    assert await holds(database) == {"canary": 18}
    (held,) = await database.transact(watched_ticks.list_held)
    assert (held.tick_id, held.hold, held.posted) == (tick_id, "canary", 10)
    other = direct.schedule()
    direct.subscriptions(5, messageset, other)
    await tick(database, other)
    assert len(await claim(database)) == 5
    released = await database.transact(watched_ticks.release, tick_id=tick_id, released_by="me")
    assert released == (True, "canary")
    assert len(await claim(database)) == 18
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_of_a_canary_no_two_daemons_claim_more_than_its_size(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 30, canary=10)
    await tick(database, schedule)
    first = await claim(database, limit=7)
    assert len(await claim(database)) == 3
    await database.transact(
        sends.settle, results=[(send, Unknown(reason="reset")) for send in first]
    )
    assert await claim(database) == []  # unknown sends are in hand as well


@ensureDeferred
async def test_a_tick_stops_when_too_many_of_enough_were_refused(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 200, brake_percent=5, brake_after=50)
    tick_id = await tick(database, schedule)
    claimed = await claim(database)
    assert len(claimed) == 50
    await settle(database, claimed[:47])
    await settle(database, claimed[47:], REFUSED)
    assert await claim(database) == []
    assert await holds(database) == {"braked": 150}
    (held,) = await database.transact(watched_ticks.list_held)
    assert (held.posted, held.failed, held.hold) == (50, 3, "braked")
    await database.transact(watched_ticks.release, tick_id=tick_id, released_by="me")
    again = await claim(database)
    assert len(again) == 50  # the brake counts from now
    await settle(database, again)
    assert len(await claim(database)) == 100


@ensureDeferred
async def test_a_tick_whose_share_of_failures_is_small_enough_goes_on(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 300, brake_percent=5, brake_after=40)
    await tick(database, schedule)
    claimed = await claim(database)
    await settle(database, claimed[:38])
    await settle(database, claimed[38:], REFUSED)  # 5 percent, and not more
    rest = await claim(database, limit=200)
    assert len(rest) == 200
    await settle(database, rest[:60])
    await settle(database, rest[60:62], REFUSED)
    assert (await holds(database))["braked"] == 0
    await settle(database, rest[62:], REFUSED)
    (held,) = await database.transact(watched_ticks.list_held)
    assert held.hold == "braked"


@ensureDeferred
async def test_only_ticks_of_schedules_with_a_brake_or_canary_are_counted(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 2)
    await tick(database, schedule)
    await settle(database, await claim(database))
    assert direct.value("SELECT count(*) FROM watched_ticks") == 0
    set_limit(direct, "schedules", canary=5)
    tick_id = await tick(database, schedule)
    await settle(database, await claim(database))
    assert direct.value("SELECT posted FROM watched_ticks") == 2
    direct.rows("UPDATE ticks SET is_checked_off = true WHERE id = %s", tick_id)
    assert await database.transact(watched_ticks.forget_old) == 1


@pytest.mark.parametrize(
    "limits", [{"max_rate": 1}, {"canary": 1}, {"brake_percent": 1, "brake_after": 1}]
)
@ensureDeferred
async def test_a_slowed_tick_takes_no_room_and_is_expanded_a_little_ahead(
    database: Database, direct: Arranged, limits: dict[str, int]
) -> None:
    schedule, messageset = arrange(direct, 3500, **limits)
    tick_id = await tick(database, schedule)
    assert direct.value("SELECT count(*) FROM sends WHERE tick_id = %s", tick_id) == 2000
    other = direct.schedule()
    direct.subscriptions(3, messageset, other)
    await database.transact(ticks.open_tick, schedule_id=other)
    assert await database.transact(ticks.has_room, most=10)
    await expand(database)
    assert direct.value("SELECT count(*) FROM sends WHERE tick_id <> %s", tick_id) == 3


@ensureDeferred
async def test_who_was_skipped_as_too_old_is_not_skipped_by_the_next_tick(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 4, max_age=600)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    grow_older(direct, "5 minutes")
    await database.transact(ticks.expand, limit=2)
    (young,) = await claim(database, limit=1)
    await settle(database, [young])
    grow_older(direct, "10 minutes")
    (old,) = await claim(database)
    assert old.is_too_old
    too_old = Settled(outcome="skipped", stage="trigger", reason="it is older than max_age")
    await settle(database, [old], too_old)
    await database.transact(ticks.expand, limit=1)  # skipped: too old
    await tick(database, schedule)
    rest = await claim(database)
    await settle(database, rest)
    assert len(rest) == 3
    assert young.subscription_id not in {send.subscription_id for send in rest}
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_the_brake_sees_sends_that_fail_and_are_tried_again(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 200, brake_percent=5, brake_after=50)
    await tick(database, schedule)
    claimed = await claim(database)
    await settle(database, claimed[:40])
    failed = [
        (send, GivenBack(reason="404", delay=timedelta(0), is_fault=True)) for send in claimed[40:]
    ]
    await database.transact(sends.settle, results=failed)
    (held,) = await database.transact(watched_ticks.list_held)
    assert (held.posted, held.failed, held.hold) == (50, 10, "braked")


@ensureDeferred
async def test_a_send_that_failed_and_is_sent_in_the_end_counts_as_sent(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 20, brake_percent=50, brake_after=10)
    await tick(database, schedule)
    claimed = await claim(database)
    fault = GivenBack(reason="404", delay=timedelta(0), is_fault=True)
    await database.transact(sends.settle, results=[(send, fault) for send in claimed[:4]])
    await settle(database, claimed[4:])
    again = [send for send in await claim(database) if send.faults]
    assert len(again) == 4
    await database.transact(sends.settle, results=[(again[0], fault)])
    await settle(database, again[1:3])
    await settle(database, again[3:], REFUSED)
    counted = direct.rows("SELECT posted, failed FROM watched_ticks")
    assert [tuple(row.values()) for row in counted] == [(10, 2)]


@ensureDeferred
async def test_a_tick_of_which_nothing_is_left_waits_for_nobody(
    database: Database, direct: Arranged
) -> None:
    schedule, _ = arrange(direct, 10, canary=10)
    await tick(database, schedule)
    await settle(database, await claim(database))
    assert await database.transact(watched_ticks.list_held) == []


@ensureDeferred
async def test_a_small_tick_does_not_wait_for_one_of_many_message_sets(
    database: Database, direct: Arranged
) -> None:
    large, small = direct.schedule(), direct.schedule()
    sets = [direct.messageset(f"set {number}", large, messages=1) for number in range(30)]
    for messageset in sets:
        direct.subscriptions(5, messageset, large)
    direct.subscriptions(10, sets[0], small)
    await tick(database, large)
    await tick(database, small)
    claimed = await claim(database, limit=20)
    assert Counter(send.schedule_id for send in claimed) == {large: 10, small: 10}
