"""Both sides of the balance, counted, and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.ids import BEFORE_ALL
from sbm.model.ledger_balance import TickBalance, TickToCheck, batches
from sbm.model.send import Settled
from sbm.store import ledger_balance, sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
LEASE = timedelta(seconds=60)
NO_REST = timedelta()
A_MINUTE = timedelta(minutes=1)


async def count(database: Database, *ids: int) -> list[TickBalance]:
    return await database.transact(ledger_balance.count, ids=ids)


async def take(
    database: Database, rest: timedelta = NO_REST, limit: int = 100
) -> list[TickToCheck]:
    return await database.transact(ledger_balance.take, rest=rest, limit=limit)


async def check(database: Database) -> list[int]:
    """Check all that has to be checked; returns the ticks that were."""
    taken = [tick.id for tick in await take(database)]
    if taken:
        found = await count(database, *taken)
        await database.transact(ledger_balance.record, found=found)
    return sorted(taken)


async def broken(database: Database) -> int:
    return (await database.transact(ledger_balance.count_unbalanced))[0]


async def settle_all(database: Database, limit: int = 100) -> None:
    claimed = await database.transact(sends.claim, owner=uuid4(), limit=limit, lease=LEASE)
    results = [(send, SENT) for send in claimed]
    await database.transact(sends.settle, results=results)


def closed_tick(direct: Arranged, **fields: object) -> int:
    """A tick that was expanded, with whatever else."""
    names = "".join(f", {name}" for name in fields)
    marks = ", %s" * len(fields)
    return int(
        direct.value(
            f"INSERT INTO ticks (source, state, schedule_id{names})"  # noqa: S608
            f" VALUES ('post-back', 'expanded', 1{marks}) RETURNING id",
            *fields.values(),
        )
    )


def ledger_row(direct: Arranged, tick: int, settled_at: str = "now") -> None:
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
        " settled_at) VALUES (gen_random_uuid(), %s, 'next', 'sent', 'post', gen_random_uuid(),"
        " 'i', %s)",
        *(tick, settled_at),
    )


@ensureDeferred
async def test_it_holds_from_the_opening_of_a_tick_until_its_last_send_is_settled(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(5, direct.messageset("pregnancy", schedule), schedule)
    tick = await database.transact(ticks.open_tick, schedule_id=schedule)
    assert tick is not None

    async def sides() -> tuple[int, int, int, bool]:
        (one,) = await count(database, tick)
        assert not one.is_unbalanced
        return one.triggers, one.settled, one.live, one.is_closed

    assert await sides() == (0, 0, 0, False)
    await database.transact(ticks.expand, limit=3)
    assert await sides() == (3, 0, 3, False)
    await settle_all(database, 2)
    assert await sides() == (3, 2, 1, False)
    await database.transact(ticks.expand, limit=3)
    assert await sides() == (5, 2, 3, False)
    await settle_all(database)
    assert await sides() == (5, 5, 0, True)


@ensureDeferred
async def test_nothing_is_seen_on_its_way_from_one_side_to_the_other(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    tick = await database.transact(ticks.open_tick, schedule_id=schedule)
    assert tick is not None
    counted: list[TickBalance] = []

    async def expand_and_look(transaction: Transaction) -> None:
        await ticks.expand(transaction, limit=10)
        counted.extend(await count(database, tick))

    await database.transact(expand_and_look)
    counted.extend(await count(database, tick))
    assert [(one.triggers, one.live, one.is_unbalanced) for one in counted] == [
        (0, 0, False),
        (1, 1, False),
    ]


@pytest.mark.parametrize(("rows", "missing"), [(0, 2), (1, 1), (2, 0), (3, -1)])
@ensureDeferred
async def test_what_is_missing_or_too_much_is_counted(
    database: Database, direct: Arranged, rows: int, missing: int
) -> None:
    tick = closed_tick(direct, triggers=2)
    for _ in range(rows):
        ledger_row(direct, tick)
    (one,) = await count(database, tick)
    assert (one.missing, one.is_unbalanced) == (missing, missing != 0)
    await check(database)
    assert direct.value("SELECT missing FROM ticks") == missing
    assert await broken(database) == (missing != 0)


@ensureDeferred
async def test_a_closed_tick_is_checked_once(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule()
    direct.subscriptions(2, direct.messageset("pregnancy", schedule), schedule)
    tick = await database.transact(ticks.open_tick, schedule_id=schedule)
    assert tick is not None
    await database.transact(ticks.expand, limit=10)
    assert [await check(database) for _ in range(2)] == [[tick]] * 2
    await settle_all(database)
    assert [await check(database) for _ in range(2)] == [[tick], []]


@ensureDeferred
async def test_a_tick_that_was_missed_is_checked_once(database: Database, direct: Arranged) -> None:
    direct.rows("INSERT INTO ticks (source, state, schedule_id) VALUES ('clock', 'missed', 1)")
    assert [len(await check(database)) for _ in range(2)] == [1, 0]
    assert await broken(database) == 0


@ensureDeferred
async def test_a_broken_tick_is_checked_until_it_is_whole_again(
    database: Database, direct: Arranged
) -> None:
    tick = closed_tick(direct, triggers=1)
    assert [await check(database) for _ in range(2)] == [[tick]] * 2
    assert await broken(database) == 1
    ledger_row(direct, tick)
    assert [await check(database) for _ in range(2)] == [[tick], []]
    assert await broken(database) == 0


@ensureDeferred
async def test_a_minute_is_not_closed_before_every_trigger_of_it_must_have_come(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    (mother,) = direct.subscriptions(1, direct.messageset("pregnancy", schedule), schedule)
    await database.transact(sends.owe, subscription_id=mother)
    await settle_all(database)
    tick = direct.value("SELECT id FROM ticks")
    assert [await check(database) for _ in range(2)] == [[tick]] * 2
    direct.rows("UPDATE ticks SET due_at = due_at - interval '10 minutes'")
    assert [await check(database) for _ in range(2)] == [[tick]] * 2
    direct.rows("UPDATE ticks SET due_at = due_at - interval '2 minutes'")
    assert [await check(database) for _ in range(2)] == [[tick], []]


@ensureDeferred
async def test_a_tick_that_got_another_trigger_meanwhile_is_not_checked_off(
    database: Database, direct: Arranged
) -> None:
    tick = closed_tick(direct)
    found = await count(database, tick)
    direct.rows("UPDATE ticks SET triggers = 1")
    await database.transact(ledger_balance.record, found=found)
    assert await check(database) == [tick]
    assert await broken(database) == 1


@ensureDeferred
async def test_a_tick_is_taken_by_one_and_not_again_before_it_has_rested(
    database: Database, direct: Arranged
) -> None:
    tick = closed_tick(direct)
    assert [one.id for one in await take(database, A_MINUTE)] == [tick]
    assert await take(database, A_MINUTE) == []
    direct.rows("UPDATE ticks SET checked_at = checked_at - interval '1 minute'")
    assert [one.id for one in await take(database, A_MINUTE)] == [tick]


@ensureDeferred
async def test_those_never_checked_come_first_and_then_those_that_waited_longest(
    database: Database, direct: Arranged
) -> None:
    lately, long_ago, never = (closed_tick(direct) for _ in range(3))
    for tick, minutes in ((lately, 2), (long_ago, 9)):
        direct.rows(
            "UPDATE ticks SET checked_at = now() - make_interval(mins => %s) WHERE id = %s",
            *(minutes, tick),
        )
    taken = [(await take(database, A_MINUTE, 1))[0].id for _ in range(3)]
    assert taken == [never, long_ago, lately]


@ensureDeferred
async def test_a_tick_that_somebody_is_busy_with_is_left_for_the_next_time(
    database: Database, direct: Arranged
) -> None:
    schedule = direct.schedule()
    tick = await database.transact(ticks.open_tick, schedule_id=schedule)
    other = closed_tick(direct)
    expanded: Deferred[None] = Deferred()
    let_go: Deferred[None] = Deferred()

    async def hold(transaction: Transaction) -> None:
        await ticks.expand(transaction, limit=10)
        expanded.callback(None)
        await let_go

    holding = Deferred.fromCoroutine(database.transact(hold))
    await expanded
    assert [one.id for one in await take(database)] == [other]
    let_go.callback(None)
    await holding
    assert [one.id for one in await take(database)] == [tick, other]


@ensureDeferred
async def test_nothing_is_said_of_ticks_whose_part_of_the_ledger_was_dropped(
    database: Database, direct: Arranged
) -> None:
    tick = closed_tick(direct, triggers=1, created_at="2001-01-31 23:59+00")
    direct.rows(
        "CREATE TABLE ledger_2001_01 PARTITION OF ledger"
        " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
    )
    (before,) = await count(database, tick)
    assert (before.is_kept, before.is_unbalanced) == (True, True)
    direct.rows("SELECT drop_partitions('ledger', 24)")
    (after,) = await count(database, tick)
    assert (after.is_kept, after.is_unbalanced) == (False, False)
    assert [await check(database) for _ in range(2)] == [[tick], []]
    assert await broken(database) == 0


@ensureDeferred
async def test_what_was_found_stays_when_the_ledger_is_dropped(
    database: Database, direct: Arranged
) -> None:
    closed_tick(direct, triggers=1, missing=1, created_at="2001-01-31 23:59+00")
    assert [len(await check(database)) for _ in range(2)] == [1, 0]
    assert await broken(database) == 1


@ensureDeferred
async def test_rows_of_months_without_a_partition_count(
    database: Database, direct: Arranged
) -> None:
    direct.rows(
        "CREATE TABLE ledger_2001_01 PARTITION OF ledger"
        " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
    )
    tick = closed_tick(direct, triggers=2, created_at="2001-01-31 23:59+00")
    ledger_row(direct, tick, "2001-01-31 23:59:30+00")
    ledger_row(direct, tick, "2001-03-01 00:00+00")
    (one,) = await count(database, tick)
    assert (one.settled, one.is_kept, one.is_unbalanced) == (2, True, False)


@ensureDeferred
async def test_rows_count_where_the_clock_of_the_server_was_set_back(
    database: Database, direct: Arranged
) -> None:
    tick = closed_tick(direct, triggers=1)
    direct.rows("UPDATE ticks SET created_at = now() + interval '1 hour'")
    ledger_row(direct, tick)
    assert not (await count(database, tick))[0].is_unbalanced


@ensureDeferred
async def test_the_ledger_is_counted_by_index_in_those_months_only_that_can_have_rows(
    database: Database, direct: Arranged
) -> None:
    direct.rows(
        "CREATE TABLE ledger_2001_01 PARTITION OF ledger"
        " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
    )
    direct.rows("ANALYZE ledger, ticks, sends")  # of nothing yet
    tick = closed_tick(direct, triggers=1)
    direct.rows(
        "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id, identity,"
        " settled_at) SELECT gen_random_uuid(), %s + n, 'next', 'sent', 'post', gen_random_uuid(),"
        " 'i', settled_at FROM generate_series(0, 9999) n, (VALUES (now()), ('2001-01-01')) v"
        " (settled_at)",
        tick,
    )
    month = direct.value("SELECT 'ledger_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    rows = direct.rows(
        f"EXPLAIN (ANALYZE) {ledger_balance.QUERIES.count_ticks.sql % {'ids': f'ARRAY[{tick}]'}}"
    )
    plan = [str(row["QUERY PLAN"]) for row in rows]
    (now,) = (line for line in plan if f" on {month} " in line)
    assert "Seq Scan" not in now
    assert "rows=1" in now.partition("actual")[2]
    (then,) = (line for line in plan if " on ledger_2001_01 " in line)
    assert "never executed" in then


def test_batches_hold_so_many_triggers_and_the_largest_tick_comes_last_by_itself() -> None:
    sizes = [9, 1, 100, 5, 5]
    waiting = [
        TickToCheck(id=number, triggers=triggers, missing=0)
        for number, triggers in enumerate(sizes)
    ]
    found = [[tick.triggers for tick in batch] for batch in batches(waiting, most=10)]
    assert found == [[1, 5], [5], [9], [100]]
    assert list(batches([], most=10)) == []


@ensureDeferred
async def test_a_live_send_without_its_tick_is_found(database: Database, direct: Arranged) -> None:
    tick = closed_tick(direct)
    for tick_id in (tick, tick + 1, tick + 2):
        direct.rows(
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " VALUES ('next', 'tick', gen_random_uuid(), 'i', %s)",
            tick_id,
        )
    (first,) = await database.transact(ledger_balance.list_orphans, after=BEFORE_ALL, limit=1)
    (second,) = await database.transact(ledger_balance.list_orphans, after=first.send_id, limit=10)
    assert {first.tick_id, second.tick_id} == {tick + 1, tick + 2}


@ensureDeferred
async def test_sends_that_were_sent_twice_are_found_page_by_page(
    database: Database, direct: Arranged
) -> None:
    twice = [uuid4() for _ in range(3)]
    for send_id in twice:
        for outcome, outbound in (("refused", None), ("sent", "1"), ("adopted", "2")):
            direct.rows(
                "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
                " identity, outbound_id) VALUES (%s, 1, 'next', %s, 'post', %s, 'i', %s)",
                *(send_id, outcome, send_id, outbound),
            )
    once = closed_tick(direct)
    for _ in range(3):
        ledger_row(direct, once)
    found: list[ledger_balance.Double] = []
    pages, after = 0, BEFORE_ALL
    while True:
        last, page = await database.transact(ledger_balance.list_doubles, after=after, limit=2)
        if last is None:
            break
        found, pages, after = [*found, *page], pages + 1, last
    assert sorted(one.send_id for one in found) == sorted(twice)
    assert {(one.times, one.outbound_ids) for one in found} == {(2, ("1", "2"))}
    assert pages > 1
