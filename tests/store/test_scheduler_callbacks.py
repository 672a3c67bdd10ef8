"""Calls of the Scheduler that come while the first one is under way."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.scheduler_callback import AHEAD, Crons, RecordedCall, Target
from sbm.store import scheduler_callbacks
from sbm.store.postgres.database import Database
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.web.sockets import comes_true

KEPT = timedelta(hours=1)
MOMENT = datetime(2026, 3, 3, 8, 0, tzinfo=timezone.utc)
ONE = Target(kind="schedule", id=1)
LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND granted = %s"
)


class GivesUp(Exception):
    """An error in the middle of the work."""


async def record(transaction: Transaction, target: Target, moment: datetime = MOMENT) -> None:
    await scheduler_callbacks.record(
        transaction, target=target, moment=moment, status=202, body=b"{}"
    )


async def recorded(
    transaction: Transaction, target: Target, until: Deferred[None] | None = None
) -> list[RecordedCall]:
    """The calls that were found; this one is recorded, once ``until`` has fired."""
    await scheduler_callbacks.lock_target(transaction, target=target)
    found = await scheduler_callbacks.list_recent(transaction, target=target, kept=KEPT)
    await record(transaction, target)
    if until is not None:
        await until
    return found


@pytest.mark.parametrize("is_done", [True, False])
@ensureDeferred
async def test_the_second_waits_for_the_first_and_finds_it_only_if_it_was_done(
    database: Database, direct: Arranged, is_done: bool
) -> None:
    until: Deferred[None] = Deferred()
    first = Deferred.fromCoroutine(database.transact(recorded, ONE, until))
    await comes_true(lambda: direct.value(LOCKS, True) == 1)
    second = Deferred.fromCoroutine(database.transact(recorded, ONE))
    await comes_true(lambda: direct.value(LOCKS, False) == 1)
    if is_done:
        until.callback(None)
        assert await first == []
    else:
        until.errback(GivesUp())
        first.addErrback(lambda failure: failure.trap(GivesUp))
    found = await second
    assert [one.moment for one in found] == [MOMENT] * is_done
    assert direct.value("SELECT count(*) FROM scheduler_callbacks") == 1


@ensureDeferred
async def test_a_call_for_another_does_not_wait(database: Database, direct: Arranged) -> None:
    until: Deferred[None] = Deferred()
    first = Deferred.fromCoroutine(database.transact(recorded, ONE, until))
    await comes_true(lambda: direct.value(LOCKS, True) == 1)
    for other in (Target(kind="schedule", id=11), Target(kind="subscription", id=uuid4())):
        assert await database.transact(recorded, other) == []
    until.callback(None)
    assert await first == []


@ensureDeferred
async def test_a_moment_is_recorded_once_for_each_target(
    database: Database, direct: Arranged
) -> None:
    for target in (ONE, ONE, Target(kind="schedule", id=2)):
        await database.transact(record, target)
    await database.transact(record, ONE, MOMENT + timedelta(minutes=1))
    rows = direct.rows("SELECT target, count(*) FROM scheduler_callbacks GROUP BY 1 ORDER BY 1")
    assert [(row["target"], row["count"]) for row in rows] == [("1", 2), ("2", 1)]


@ensureDeferred
async def test_the_crons_are_those_of_the_target(database: Database, direct: Arranged) -> None:
    schedule = direct.schedule(minute=" 1, 2", hour="3", day_of_week="4", day_of_month="5")
    (subscription,) = direct.subscriptions(1, direct.messageset("set", schedule), schedule)
    targets = [
        Target(kind="schedule", id=schedule),
        Target(kind="subscription", id=subscription),
        Target(kind="schedule", id=schedule + 1),
        Target(kind="subscription", id=uuid4()),
    ]

    async def read() -> list[tuple[str | None, str | None]]:
        found: list[Crons] = [
            await database.transact(scheduler_callbacks.read_crons, target=target)
            for target in targets
        ]
        return [(crons.told, crons.wanted) for crons in found]

    wanted = "1,2 3 5 * 4"
    assert await read() == [(None, wanted)] * 2 + [(None, None)] * 2
    for target in targets:
        direct.rows(
            "INSERT INTO scheduler_schedules (kind, target, remote_id, cron_definition)"
            " VALUES (%s, %s, 'x', %s)",
            *(target.kind, str(target.id), f"{target.id}"),
        )
    told = [str(target.id) for target in targets]
    assert await read() == list(zip(told, [wanted, wanted, None, None], strict=True))


@pytest.mark.parametrize("name", ["list_recent", "delete_old", "delete_future"])
def test_what_is_read_does_not_grow_with_the_table(
    direct: Arranged, database_uri: str, name: str
) -> None:
    """In a table of nothing but old calls, whatever the planner believes about it."""
    direct.rows(
        "INSERT INTO scheduler_callbacks (kind, target, moment, created_at, received_at, status,"
        " body) SELECT 'subscription', n, moment, moment, moment, 201, '{}'"
        " FROM generate_series(1, 30000) n,"
        " LATERAL (SELECT now() - interval '2 hours' - n * interval '1 ms' AS moment) one"
    )
    parameters = {
        "kind": "subscription",
        "target": "1",
        "kept": KEPT,
        "limit": 3000,
        "ahead": AHEAD,
        "local_time": datetime.now(timezone.utc),
    }
    statement = load("scheduler_callbacks").by_name[name].sql
    explained = f"EXPLAIN (FORMAT JSON) {statement}"
    for step in ("", "ANALYZE scheduler_callbacks"):
        if step:
            direct.rows(step)
        with psycopg2.connect(database_uri) as connection, connection.cursor() as cursor:
            cursor.execute(explained, parameters)
            ((plan,),) = cursor.fetchone() or ()
        connection.close()
        # The table of the jumps is a small one.
        assert not re.search(r'"Seq Scan"[^{}]*"scheduler_callbacks"', json.dumps(plan)), plan
