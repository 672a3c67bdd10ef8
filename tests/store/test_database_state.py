"""What the database says of itself, for an operator."""

from __future__ import annotations

import psycopg2
from pytest_twisted import ensureDeferred

from sbm.store import database_state
from sbm.store.postgres import migrations
from sbm.store.postgres.database import Database
from tests.arrange import Arranged


@ensureDeferred
async def test_a_transaction_that_stays_open_is_found_and_holds_rows_back(
    database: Database, database_uri: str, direct: Arranged
) -> None:
    held = psycopg2.connect(database_uri, application_name="a report")
    try:
        with held.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_backend_pid()")
            pid = cursor.fetchone()
        for _ in range(3):
            direct.rows("INSERT INTO users (username) VALUES (gen_random_uuid())")
        state = await database.read(database_state.read)
        assert state.longest is not None
        assert pid == (state.longest.pid,)
        assert state.longest.application == "a report"
        assert state.longest.state == "idle in transaction"
        assert state.longest.seconds >= 0
        assert state.horizon.oldest_age is not None
        assert state.horizon.oldest_age >= 3
        assert state.horizon.hidden == 0
    finally:
        held.close()


@ensureDeferred
async def test_the_hot_tables_and_the_schema_are_told(database: Database) -> None:
    state = await database.read(database_state.read)
    assert [one.name for one in state.tables] == sorted(database_state.HOT_TABLES)
    assert [one.name for one in state.applied] == sorted(migrations.names(), reverse=True)
    assert (state.pending, state.unknown) == ([], [])


@ensureDeferred
async def test_missing_and_unknown_migrations_are_told(
    database: Database, direct: Arranged
) -> None:
    await database.read(database_state.read)  # a new connection would refuse such a schema
    last = migrations.names()[-1]
    direct.rows("DELETE FROM schema_migrations WHERE name = %s", last)
    direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_of_tomorrow')")
    state = await database.read(database_state.read)
    assert (state.pending, state.unknown) == ([last], ["9999_of_tomorrow"])


@ensureDeferred
async def test_partitions_that_are_missing_are_told(database: Database, direct: Arranged) -> None:
    def table(months: int) -> str:
        return str(
            direct.value(
                "SELECT 'audit' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC')"
                " + make_interval(months => %s), '_YYYY_MM')",
                months,
            )
        )

    state = await database.read(database_state.read)
    assert {(one.has_this_month, one.has_next_month, one.has_strays) for one in state.months} == {
        (True, True, False)
    }
    direct.rows(f"DROP TABLE {table(0)}, {table(1)}")
    direct.rows("INSERT INTO audit (actor, action) VALUES ('ann', 'x')")
    (found,) = [
        one for one in (await database.read(database_state.read)).months if one.name == "audit"
    ]
    assert (found.has_this_month, found.has_next_month, found.has_strays) == (False, False, True)
