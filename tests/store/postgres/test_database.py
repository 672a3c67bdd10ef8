"""Transactions, and the connections beneath them, while everything goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import pytest_twisted
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import commits, connection, migrations
from sbm.store.postgres import connecting as connecting_module
from sbm.store.postgres import database as module
from sbm.store.postgres import prepared as prepared_statements
from sbm.store.postgres.database import (
    LIFETIME_SECONDS,
    RECONNECT_SECONDS,
    RESTARTS,
    Database,
)
from sbm.store.postgres.errors import (
    CommitUnknown,
    DatabaseUnavailable,
    SchemaMismatch,
    StatementMisused,
)
from sbm.store.postgres.rows import by_column
from sbm.store.postgres.statements import Cardinality, Query
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.db.databases import Databases
from tests.store.postgres.database_proxy import DatabaseProxy, reactor
from tests.store.transactions import COUNT, SOON, Ahead, Barrier, ask, insert, query, together

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


# Transactions


@ensureDeferred
async def test_what_is_done_is_committed(database: Database, direct: Arranged) -> None:
    assert await database.transact(insert) == 1
    assert direct.value(COUNT) == 1


@pytest.mark.parametrize("error", [ValueError("oh"), CancelledError()])
@ensureDeferred
async def test_whatever_is_raised_rolls_back_and_the_connection_stays(
    through: Any, proxy: DatabaseProxy, direct: Arranged, error: Exception
) -> None:
    database = through()

    async def fail(transaction: Transaction) -> None:
        await insert(transaction)
        raise error

    with pytest.raises(type(error)):
        await database.transact(fail)
    assert direct.value(COUNT) == 0
    assert await database.transact(ask) == 1
    assert len(proxy.lines) == 1


@ensureDeferred
async def test_a_statement_that_is_refused_rolls_back_and_the_connection_stays(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()

    async def fail(transaction: Transaction) -> None:
        await insert(transaction)
        await transaction.execute(query("SELECT 1 / 0"))

    with pytest.raises(psycopg2.errors.DivisionByZero):
        await database.transact(fail)
    assert direct.value(COUNT) == 0
    assert await database.transact(ask) == 1
    assert len(proxy.lines) == 1


@ensureDeferred
async def test_a_constraint_that_is_checked_at_commit_is_no_unknown_commit(
    through: Any, direct: Arranged
) -> None:
    direct.rows("CREATE TABLE late (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    database = through()

    async def twice(transaction: Transaction) -> None:
        await transaction.execute(query("INSERT INTO late VALUES (1), (1)"))

    with pytest.raises(psycopg2.errors.UniqueViolation):
        await database.transact(twice)
    assert direct.value("SELECT count(*) FROM late") == 0
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_arguments_are_passed_on_and_rows_come_by_column(database: Database) -> None:
    async def work(transaction: Transaction, low: int, *, high: int) -> Any:
        statement = query(
            "SELECT n, n * 2 AS twice FROM generate_series(%(low)s, %(high)s) n", "many"
        )
        return await transaction.many(statement, by_column, low=low, high=high)

    rows = await database.transact(work, 1, high=2)
    assert rows == [{"n": 1, "twice": 2}, {"n": 2, "twice": 4}]


@ensureDeferred
async def test_two_transactions_go_on_at_the_same_time(database: Database) -> None:
    barrier = Barrier(2)

    async def work(transaction: Transaction) -> Any:
        await barrier.wait()
        return await ask(transaction, "SELECT pg_backend_pid() AS answer")

    one, other = await together([database.transact(work), database.transact(work)])
    assert one != other


@ensureDeferred
async def test_a_session_is_set_up_as_the_statements_expect_it(database: Database) -> None:
    async def shown(transaction: Transaction) -> list[Any]:
        names = (
            *("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"),
            *("TimeZone", "jit"),
        )
        return [await ask(transaction, f"SELECT current_setting('{n}') AS answer") for n in names]

    assert await database.transact(shown) == ["20s", "20s", "3s", "UTC", "off"]


# The pool


@ensureDeferred
async def test_no_more_connections_are_opened_than_allowed_and_the_others_wait(
    through: Any, proxy: DatabaseProxy
) -> None:
    database, barrier = through(2), Barrier(2)
    at_once = [0, 0]

    async def work(transaction: Transaction) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await barrier.wait()
        await ask(transaction)
        at_once[0] -= 1

    await together([database.transact(work) for _ in range(10)])
    assert (at_once, len(proxy.lines)) == ([0, 2], 2)


@ensureDeferred
async def test_connections_are_opened_as_they_are_needed(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through(10)
    assert proxy.lines == []
    for _ in range(5):
        await database.transact(ask)
    assert len(proxy.lines) == 1


@ensureDeferred
async def test_nobody_waits_for_a_connection_for_ever(
    through: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, hold = through(1), Deferred[None]()

    async def work(transaction: Transaction) -> None:
        await hold

    holder = Deferred.fromCoroutine(database.transact(work))
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    with pytest.raises(DatabaseUnavailable, match="all 1 connections are in use"):
        await database.transact(ask)
    hold.callback(None)
    await holder
    monkeypatch.undo()
    assert await together([database.transact(ask) for _ in range(3)]) == [1, 1, 1]


@ensureDeferred
async def test_a_connection_that_grew_old_is_replaced(through: Any, proxy: DatabaseProxy) -> None:
    ahead = Ahead()
    database = through(1, by=ahead)
    await database.transact(ask)
    ahead.by = LIFETIME_SECONDS + 1
    await database.transact(ask)
    await proxy.lines[0].closed
    await database.transact(ask)
    assert len(proxy.lines) == 2


# Lost connections


@ensureDeferred
async def test_connections_that_are_killed_while_they_idle_are_not_used_again(
    database: Database, direct: Arranged
) -> None:
    barrier = Barrier(5)

    async def work(transaction: Transaction) -> Any:
        await barrier.wait()
        return await ask(transaction)

    await together([database.transact(work) for _ in range(5)])
    direct.rows(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    assert await database.transact(ask) == 1
    assert await together([database.transact(ask) for _ in range(5)]) == [1] * 5


@ensureDeferred
async def test_a_connection_that_is_killed_during_a_statement_has_done_nothing(
    through: Any, direct: Arranged
) -> None:
    database = through()

    async def work(transaction: Transaction) -> Any:
        await insert(transaction)
        return await ask(transaction, "SELECT pg_terminate_backend(pg_backend_pid()) AS answer")

    with pytest.raises(DatabaseUnavailable) as caught:
        await database.transact(work)
    assert not isinstance(caught.value, CommitUnknown)
    assert direct.value(COUNT) == 0
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_a_connection_that_breaks_during_a_statement_has_done_nothing(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    proxy.stop_after = b"SELECT 1"

    async def work(transaction: Transaction) -> Any:
        await insert(transaction)
        return await ask(transaction)

    with pytest.raises(DatabaseUnavailable) as caught:
        await database.transact(work)
    assert not isinstance(caught.value, CommitUnknown)
    proxy.stop_after = b""
    assert direct.value(COUNT) == 0
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_a_connection_that_is_lost_between_two_statements(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()

    async def work(transaction: Transaction) -> Any:
        await insert(transaction)
        direct.rows(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        return await ask(transaction)

    with pytest.raises(DatabaseUnavailable):
        await database.transact(work)
    assert direct.value(COUNT) == 0
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_a_connection_that_proves_dead_at_begin_costs_nothing(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    await database.transact(ask)
    proxy.stop_before, struck = b"BEGIN", proxy.struck

    async def mend() -> None:
        await struck
        proxy.stop_before = b""

    await together([database.transact(insert), mend()])
    assert (proxy.hits, direct.value(COUNT)) == (1, 1)


@ensureDeferred
async def test_it_is_not_begun_over_and_over_for_ever(through: Any, proxy: DatabaseProxy) -> None:
    proxy.stop_before = b"BEGIN"
    with pytest.raises(DatabaseUnavailable):
        await through().transact(ask)
    assert proxy.hits == RESTARTS + 1


@ensureDeferred
async def test_a_server_that_falls_silent_costs_the_connection(
    through: Any, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = through()
    proxy.deaf_after = b"SELECT 1"

    async def work(transaction: Transaction) -> Any:
        monkeypatch.setattr(connection, "SILENCE_SECONDS", 0.01)
        return await ask(transaction)

    with pytest.raises(DatabaseUnavailable):
        await database.transact(work)
    monkeypatch.undo()
    proxy.deaf_after = b""
    await proxy.lines[0].closed
    assert await database.transact(ask) == 1
    assert proxy.cancels == 0


@pytest.mark.parametrize("silence", ["hole_before", "stop_before"])
@ensureDeferred
async def test_a_pool_full_of_dead_connections_is_emptied_when_the_first_one_is_found(
    through: Any, proxy: DatabaseProxy, monkeypatch: pytest.MonkeyPatch, silence: str
) -> None:
    """As after a failover, when their server has gone without a word."""
    database, barrier = through(8), Barrier(8)

    async def work(transaction: Transaction) -> None:
        await barrier.wait()

    await together([database.transact(work) for _ in range(8)])
    monkeypatch.setattr(module, "PROMPT_SECONDS", SOON)
    setattr(proxy, silence, b"BEGIN")

    async def fail_over() -> None:
        await proxy.struck
        setattr(proxy, silence, b"")

    asked, _ = await together([database.transact(ask), fail_over()])
    assert (asked, proxy.hits, len(proxy.lines)) == (1, 1, 9)
    for line in proxy.lines[:8]:
        await line.closed


@pytest.mark.parametrize(
    ("statement", "where", "limit"),
    [
        (b"user", connecting_module, "CONNECT_SECONDS"),
        (b"SET statement_timeout", connecting_module, "CONNECT_SECONDS"),
        (b"FROM schema_migrations", connecting_module, "CONNECT_SECONDS"),
        (b"BEGIN", module, "PROMPT_SECONDS"),
        (b"INSERT", connection, "SILENCE_SECONDS"),
        (b"pg_current_xact_id_if_assigned", commits, "PROMPT_SECONDS"),
        (b"ROLLBACK", module, "PROMPT_SECONDS"),
    ],
)
@ensureDeferred
async def test_silence_is_noticed_wherever_it_begins_and_nothing_was_done(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    monkeypatch: pytest.MonkeyPatch,
    statement: bytes,
    where: Any,
    limit: str,
) -> None:
    """Each of these limits is far below half a minute."""
    database = through()
    assert getattr(where, limit) <= 25
    monkeypatch.setattr(where, limit, SOON)
    proxy.hole_before = statement

    async def work(transaction: Transaction) -> None:
        await insert(transaction)
        if statement == b"ROLLBACK":
            raise ValueError

    with pytest.raises((DatabaseUnavailable, ValueError)):
        await database.transact(work)
    assert proxy.hits
    for line in proxy.lines:
        await line.closed
    proxy.hole_before = b""
    await proxy.close()
    assert direct.value(COUNT) == 0


@ensureDeferred
async def test_a_statement_that_waits_too_long_for_a_lock_costs_no_connection(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    direct.rows("SELECT pg_advisory_lock(1)")

    async def work(transaction: Transaction) -> None:
        await transaction.execute(query("SET LOCAL lock_timeout = '10ms'"))
        await transaction.execute(query("SELECT pg_advisory_xact_lock(1)"))

    with pytest.raises(DatabaseUnavailable, match="lock timeout"):
        await database.transact(work)
    assert await database.transact(ask) == 1
    assert len(proxy.lines) == 1


@ensureDeferred
async def test_a_statement_that_the_server_gives_up_on_is_unavailable(database: Database) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.execute(query("SET LOCAL statement_timeout = '10ms'"))
        await transaction.execute(query("SELECT pg_sleep(30)"))

    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        await database.transact(work)
    assert await database.transact(ask) == 1


# Prepared statements


def prepared(sql: str, returns: Cardinality = "one") -> Query:
    return Query(name="test", sql=sql, returns=returns, reads=True, is_prepared=True)


@ensureDeferred
async def test_a_statement_is_prepared_once_in_each_session(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()

    async def add(transaction: Transaction, number: int) -> int:
        sql = "SELECT %(number)s::integer + 5 %% 3 AS sum"
        return await transaction.one(prepared(sql), int, number=number)

    assert [await database.transact(add, number) for number in (1, 2, 3)] == [3, 4, 5]
    assert len([said for said in proxy.queries if said.startswith(b"PREPARE")]) == 1


@ensureDeferred
async def test_a_session_keeps_those_that_were_used_last(
    through: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared_statements, "MAX_PREPARED", 3)
    database = through()

    async def work(transaction: Transaction) -> list[str]:
        for number in (1, 2, 3, 1, 4, 5):
            assert await transaction.one(prepared(f"SELECT {number} AS n"), int) == number
        listed = "SELECT right(statement, 6) FROM pg_prepared_statements ORDER BY 1"
        return await transaction.many(query(listed, "many"), str)

    assert await database.transact(work) == ["1 AS n", "4 AS n", "5 AS n"]


@pytest.mark.parametrize("loss", ["DEALLOCATE ALL", "ALTER TABLE users ALTER email TYPE varchar"])
@ensureDeferred
async def test_who_finds_a_session_without_what_it_had_prepared_starts_again(
    through: Any, proxy: DatabaseProxy, loss: str
) -> None:
    database = through()

    async def work(transaction: Transaction) -> list[str]:
        return await transaction.many(prepared("SELECT email FROM users", "many"), str)

    async def lose(transaction: Transaction) -> None:
        await transaction.execute(query(loss))

    await database.transact(work)
    await database.transact(lose)
    assert await database.transact(work) == []
    assert len(proxy.lines) == 2


@ensureDeferred
async def test_a_statement_that_fails_stays_prepared(through: Any, proxy: DatabaseProxy) -> None:
    database = through()

    async def divide(transaction: Transaction, by: int) -> int:
        return await transaction.one(prepared("SELECT 6 / %(by)s::integer AS n"), int, by=by)

    with pytest.raises(psycopg2.errors.DivisionByZero):
        await database.transact(divide, 0)
    assert await database.transact(divide, 2) == 3
    assert len(proxy.lines) == 1


# Statements that are sent with BEGIN


PROMPT = Query(name="test", sql="SELECT 1 / %(by)s AS n", returns="one", reads=True, is_prompt=True)


@ensureDeferred
async def test_a_prompt_statement_is_sent_with_begin_if_it_is_the_first(
    through: Any, proxy: DatabaseProxy
) -> None:
    async def twice(transaction: Transaction) -> int:
        return await transaction.one(PROMPT, int, by=1) + await transaction.one(PROMPT, int, by=1)

    assert await through().transact(twice) == 2
    assert proxy.queries[-3:] == [b"BEGIN;\nSELECT 1 / 1 AS n", b"SELECT 1 / 1 AS n", b"COMMIT"]


@ensureDeferred
async def test_a_prompt_statement_that_fails_rolls_back_and_the_connection_stays(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()

    async def work(transaction: Transaction) -> int:
        return await transaction.one(PROMPT, int, by=0)

    with pytest.raises(psycopg2.errors.DivisionByZero):
        await database.transact(work)
    assert proxy.queries[-1] == b"ROLLBACK"
    assert await database.transact(ask) == 1
    assert len(proxy.lines) == 1


@pytest.mark.parametrize("only_reads", [False, True])
@ensureDeferred
async def test_a_connection_that_is_lost_at_a_prompt_statement_costs_nothing(
    through: Any, proxy: DatabaseProxy, only_reads: bool
) -> None:
    database = through()
    run = database.read if only_reads else database.transact
    await run(ask)
    proxy.stop_before, struck = b"1 / 1", proxy.struck

    async def work(transaction: Transaction) -> int:
        return await transaction.one(PROMPT, int, by=1)

    async def mend() -> int:
        await struck
        proxy.stop_before = b""
        return 0

    assert await together([run(work), mend()]) == [1, 0]
    assert proxy.hits == 1


@ensureDeferred
async def test_a_transaction_without_a_statement_shows_that_the_server_is_there(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()

    async def nothing(transaction: Transaction) -> None:
        pass

    await database.transact(nothing)
    assert proxy.queries[-2:] == [b"BEGIN", b"COMMIT"]
    await proxy.close()
    with pytest.raises(DatabaseUnavailable):
        await database.transact(nothing)


# Reading


@ensureDeferred
async def test_what_only_reads_is_neither_begun_nor_committed(
    through: Any, proxy: DatabaseProxy
) -> None:
    async def twice(transaction: Transaction) -> int:
        return await transaction.one(PROMPT, int, by=1) + await transaction.one(PROMPT, int, by=1)

    assert await through().read(twice) == 2
    assert proxy.queries[-2:] == [b"SELECT 1 / 1 AS n", b"SELECT 1 / 1 AS n"]


@ensureDeferred
async def test_a_read_that_begins_with_a_slow_statement_is_begun(
    through: Any, proxy: DatabaseProxy
) -> None:
    assert await through().read(ask) == 1
    assert [proxy.queries[-3], proxy.queries[-1]] == [b"BEGIN", b"COMMIT"]


@ensureDeferred
async def test_what_only_reads_executes_nothing_that_writes(
    database: Database, direct: Arranged
) -> None:
    with pytest.raises(StatementMisused, match="does not only read"):
        await database.read(insert)
    assert direct.value(COUNT) == 0


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1 / 0", psycopg2.errors.DivisionByZero),
        ("SELECT pg_sleep(30)", DatabaseUnavailable),  # a statement timeout
    ],
)
@ensureDeferred
async def test_a_read_that_the_server_refuses_costs_no_connection(
    through: Any, proxy: DatabaseProxy, sql: str, error: type[Exception]
) -> None:
    database = through()

    async def work(transaction: Transaction) -> None:
        await transaction.one(PROMPT, int, by=1)
        await transaction.execute(query("SELECT set_config('statement_timeout', '10ms', false)"))
        await transaction.execute(query(sql))

    with pytest.raises(error):
        await database.read(work)
    assert await database.read(ask) == 1
    assert len(proxy.lines) == 1


# Starting again


@ensureDeferred
async def test_who_loses_a_deadlock_starts_again(database: Database, direct: Arranged) -> None:
    one, other = direct.schedule(), direct.schedule()
    barrier, tries = Barrier(2), [0]

    async def work(transaction: Transaction, *ids: int) -> None:
        tries[0] += 1
        await transaction.execute(query("SET LOCAL deadlock_timeout = '10ms'"))
        for number, schedule in enumerate(ids):
            if number:
                await barrier.wait()
            await transaction.execute(
                query("UPDATE schedules SET minute = '1' WHERE id = %(id)s"), id=schedule
            )

    await together([database.transact(work, one, other), database.transact(work, other, one)])
    assert tries[0] > 2
    assert direct.value(f"{COUNT} WHERE minute = '1'") == 2


@ensureDeferred
async def test_who_always_loses_gives_up(database: Database, direct: Arranged) -> None:
    tries = [0]

    async def work(transaction: Transaction) -> None:
        tries[0] += 1
        await insert(transaction)
        await transaction.execute(query("DO $$ BEGIN RAISE serialization_failure; END $$"))

    with pytest.raises(DatabaseUnavailable):
        await database.transact(work)
    assert (tries[0], direct.value(COUNT)) == (RESTARTS + 1, 0)
    assert await database.transact(ask) == 1


# Callers who stop waiting


@ensureDeferred
async def test_who_stops_waiting_for_a_statement_leaves_nothing_behind(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    proxy.deaf_after, struck = b"pg_sleep", proxy.struck

    async def work(transaction: Transaction) -> Any:
        await insert(transaction)
        return await ask(transaction, "SELECT 1 AS answer FROM pg_sleep(0)")

    call = Deferred.fromCoroutine(database.transact(work))
    await struck
    call.cancel()
    with pytest.raises(CancelledError):
        await call
    await proxy.lines[0].closed
    assert await database.transact(ask) == 1
    assert (proxy.cancels, len(proxy.lines), direct.value(COUNT)) == (0, 2, 0)


@pytest.mark.parametrize("statement", [b"BEGIN", b"COMMIT", b"SET statement_timeout"])
@ensureDeferred
async def test_who_stops_waiting_at_any_point_leaves_the_pool_whole(
    through: Any, proxy: DatabaseProxy, statement: bytes
) -> None:
    database = through()
    proxy.deaf_after, struck = statement, proxy.struck
    call = Deferred.fromCoroutine(database.transact(insert))
    await struck
    call.cancel()
    with pytest.raises(CancelledError):
        await call
    proxy.deaf_after = b""
    await proxy.lines[0].closed
    assert await together([database.transact(ask) for _ in range(3)]) == [1, 1, 1]
    assert (proxy.cancels, len(proxy.lines)) == (0, 2)


@ensureDeferred
async def test_who_stops_waiting_for_the_server_to_answer_at_all_hangs_up(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()
    proxy.is_silent = True
    call = Deferred.fromCoroutine(database.transact(ask))
    accepted: Deferred[None] = Deferred()
    reactor.callLater(0, accepted.callback, None)
    await accepted
    call.cancel()
    with pytest.raises(CancelledError):
        await call
    proxy.is_silent = False
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_who_stops_waiting_for_a_connection_takes_nobody_s_place(through: Any) -> None:
    database, hold = through(1), Deferred[None]()

    async def work(transaction: Transaction) -> None:
        await hold

    holder = Deferred.fromCoroutine(database.transact(work))
    impatient, patient = (Deferred.fromCoroutine(database.transact(ask)) for _ in range(2))
    impatient.cancel()
    with pytest.raises(CancelledError):
        await impatient
    hold.callback(None)
    await holder
    assert await patient == 1


# Where the server is


@ensureDeferred
async def test_while_no_server_is_there_it_says_so_at_once_and_tries_again_later(
    through: Any, proxy: DatabaseProxy
) -> None:
    ahead = Ahead()
    database = through(3, by=ahead)
    await proxy.close()
    with pytest.raises(DatabaseUnavailable):
        await database.transact(ask)
    proxy.open()
    with pytest.raises(DatabaseUnavailable):
        await database.transact(ask)
    assert proxy.lines == [], "tried again too soon"
    ahead.by = RECONNECT_SECONDS
    assert await database.transact(ask) == 1
    assert await together([database.transact(ask) for _ in range(3)]) == [1, 1, 1]


@ensureDeferred
async def test_while_no_server_is_there_one_caller_tries_for_all(
    through: Any, proxy: DatabaseProxy
) -> None:
    ahead = Ahead()
    database = through(5, by=ahead)
    proxy.stop_before = b"user"
    with pytest.raises(DatabaseUnavailable):
        await database.transact(ask)
    ahead.by, proxy.hits = RECONNECT_SECONDS, 0
    outcomes = await gatherResults(
        [
            Deferred.fromCoroutine(database.transact(ask)).addErrback(lambda f: f.type)
            for _ in range(5)
        ]
    )
    assert set(outcomes) == {DatabaseUnavailable}
    assert proxy.hits == 1


@ensureDeferred
async def test_while_one_caller_tries_the_others_do_not_wait_for_it(
    through: Any, proxy: DatabaseProxy
) -> None:
    ahead = Ahead()
    database = through(5, by=ahead)
    proxy.stop_before = b"user"
    with pytest.raises(DatabaseUnavailable):
        await database.transact(ask)
    ahead.by, proxy.stop_before, proxy.is_silent = RECONNECT_SECONDS, b"", True
    first = Deferred.fromCoroutine(database.transact(ask))
    while len(proxy.lines) < 2:
        await deferLater(reactor, 0)
    ahead.by = 2 * RECONNECT_SECONDS
    for _ in range(4):
        with pytest.raises(DatabaseUnavailable):
            await database.transact(ask)
    assert not first.called
    await proxy.close()
    with pytest.raises(DatabaseUnavailable):
        await first


@ensureDeferred
async def test_a_server_that_goes_away_and_comes_back_is_found_again(
    through: Any, proxy: DatabaseProxy
) -> None:
    ahead = Ahead()
    database = through(by=ahead)
    await database.transact(ask)
    await proxy.close()
    with pytest.raises(DatabaseUnavailable):
        await database.transact(ask)
    proxy.open()
    ahead.by = RECONNECT_SECONDS
    assert await database.transact(ask) == 1


def hosts(address: DatabaseAddress, *folders: object) -> DatabaseAddress:
    return evolve(address, hosts=tuple((str(folder), 5432) for folder in folders))


@ensureDeferred
async def test_hosts_are_tried_in_order(through: Any, proxy: DatabaseProxy, tmp_path: Path) -> None:
    database = through(address=hosts(proxy.to, tmp_path / "nobody", proxy.folder))
    assert await database.transact(ask) == 1


@define(eq=False)
class ImpatientDatabase(Ahead):
    """Notes how long connecting may take, and has no patience with the first ones."""

    with_how_many: int = 1
    patiences: list[float] = field(factory=list)

    def callLater(self, seconds: float, call: Any, *args: Any) -> Any:
        if getattr(call, "__self__", None).__class__ is connection.Connection:
            self.patiences.append(seconds)
            if len(self.patiences) <= self.with_how_many:
                seconds = 0.01
        return reactor.callLater(seconds, call, *args)


@pytest_twisted.async_yield_fixture
async def silent(proxy: DatabaseProxy) -> AsyncIterator[DatabaseProxy]:
    """A host that lets in, and says nothing."""
    silent = DatabaseProxy(proxy.to, is_silent=True)
    silent.open()
    yield silent
    await silent.close()
    silent.remove()


@ensureDeferred
async def test_a_host_that_says_nothing_is_passed_over(
    through: Any, proxy: DatabaseProxy, silent: DatabaseProxy
) -> None:
    database = through(address=hosts(proxy.to, silent.folder, proxy.folder), by=ImpatientDatabase())
    assert await database.transact(ask) == 1
    await silent.lines[0].closed


@ensureDeferred
async def test_however_many_hosts_say_nothing_the_last_one_has_its_turn_in_time(
    through: Any, proxy: DatabaseProxy, silent: DatabaseProxy
) -> None:
    hasty = ImpatientDatabase(with_how_many=9)
    address = hosts(proxy.to, *[silent.folder] * 9, proxy.folder)
    assert await through(address=address, by=hasty).transact(ask) == 1
    connecting = hasty.patiences[:9]
    assert connecting == sorted(connecting)
    assert [round(one, 2) for one in connecting[:1]] == [connecting_module.REACH_SECONDS / 10]


@ensureDeferred
async def test_the_host_that_was_reached_last_is_tried_first(
    through: Any, proxy: DatabaseProxy, silent: DatabaseProxy
) -> None:
    address = hosts(proxy.to, silent.folder, proxy.folder)
    database, barrier = through(2, address=address, by=ImpatientDatabase()), Barrier(2)
    await database.transact(ask)

    async def work(transaction: Transaction) -> None:
        await barrier.wait()

    await together([database.transact(work) for _ in range(2)])
    assert (len(silent.lines), len(proxy.lines)) == (1, 2)


@define(eq=False)
class Nameless(ImpatientDatabase):
    """Its name server says nothing."""

    nameResolver: Any = None

    def resolveHostName(self, *_args: Any) -> None:
        pass

    def callLater(self, seconds: float, call: Any, *args: Any) -> Any:
        if call.__name__ == "timeItOut" and seconds <= connecting_module.CONNECT_SECONDS:
            self.patiences.append(seconds)
            seconds = 0.01
        return reactor.callLater(seconds, call, *args)


@ensureDeferred
async def test_a_name_server_that_says_nothing_is_not_waited_for(
    through: Any, proxy: DatabaseProxy
) -> None:
    nameless = Nameless()
    nameless.nameResolver = nameless
    address = hosts(proxy.to, "db.example.org", proxy.folder)
    assert await through(address=address, by=nameless).transact(ask) == 1
    assert nameless.patiences == [connecting_module.CONNECT_SECONDS]
    with pytest.raises(DatabaseUnavailable, match=r"db\.example\.org cannot be resolved"):
        await through(address=hosts(proxy.to, "db.example.org"), by=nameless).transact(ask)


@ensureDeferred
async def test_a_server_that_only_lets_read_is_passed_over(through: Any, direct: Arranged) -> None:
    name = direct.value("SELECT current_database()")
    direct.rows(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseUnavailable, match="is read-only"):
        await through().transact(ask)


@ensureDeferred
async def test_a_server_that_lets_read_only_from_now_on_is_given_up(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()

    async def work(transaction: Transaction) -> None:
        await transaction.execute(query("SET LOCAL transaction_read_only = on"))
        await insert(transaction)

    with pytest.raises(DatabaseUnavailable, match="read-only"):
        await database.transact(work)
    await proxy.lines[0].closed
    assert await database.transact(insert) == 1


@ensureDeferred
async def test_when_no_host_answers_each_is_told(through: Any, proxy: DatabaseProxy) -> None:
    database = through(address=hosts(proxy.to, "/nowhere/one", "/nowhere/two"))
    with pytest.raises(DatabaseUnavailable, match=r"/nowhere/one.*; .*/nowhere/two"):
        await database.transact(ask)


@pytest.mark.parametrize("wrong", [{"name": "no_such_database"}, {"user": "nobody_at_all"}])
@ensureDeferred
async def test_a_server_that_does_not_let_us_in_is_unavailable(
    through: Any, proxy: DatabaseProxy, wrong: Any
) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        await through(address=evolve(proxy.address, **wrong)).transact(ask)


# The schema


@ensureDeferred
async def test_an_empty_database_is_refused_until_it_is_migrated(
    through: Any, proxy: DatabaseProxy, databases: Databases
) -> None:
    ahead, name = Ahead(), f"sbm_test_{uuid4().hex[:12]}"
    uri = databases.create(name)
    database = through(address=DatabaseAddress.parse(uri), by=ahead)
    try:
        with pytest.raises(SchemaMismatch, match="sbm migrate"):
            await database.transact(ask)
        migrations.migrate(uri)
        ahead.by = RECONNECT_SECONDS
        assert await database.transact(ask) == 1
    finally:
        database.stopService()
        databases.drop(name)


@ensureDeferred
async def test_a_newer_schema_is_refused(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
    with pytest.raises(SchemaMismatch, match="9999_from_the_future"):
        await through().transact(ask)
    await proxy.lines[0].closed


@ensureDeferred
async def test_a_schema_that_does_not_fit_is_not_looked_for_at_another_host(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    direct.rows("DELETE FROM schema_migrations WHERE name LIKE '0006%'")
    address = hosts(proxy.to, proxy.folder, proxy.folder)
    with pytest.raises(SchemaMismatch):
        await through(address=address).transact(ask)
    assert len(proxy.lines) == 1


# Stopping


@ensureDeferred
async def test_stopping_closes_every_connection(through: Any, proxy: DatabaseProxy) -> None:
    database, barrier = through(3), Barrier(3)

    async def work(transaction: Transaction) -> None:
        await barrier.wait()

    await together([database.transact(work) for _ in range(3)])
    database.stopService()
    for line in proxy.lines:
        await line.closed
    assert len(proxy.lines) == 3
    with pytest.raises(DatabaseUnavailable, match="stopping"):
        await database.transact(ask)


@ensureDeferred
async def test_what_is_under_way_when_it_stops_fails(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    proxy.deaf_after, struck = b"SELECT 1", proxy.struck

    async def work(transaction: Transaction) -> None:
        await insert(transaction)
        await ask(transaction)

    call = Deferred.fromCoroutine(database.transact(work))
    await struck
    database.stopService()
    with pytest.raises(DatabaseUnavailable):
        await call
    assert direct.value(COUNT) == 0


@ensureDeferred
async def test_a_connection_that_comes_up_after_the_stop_is_closed(
    through: Any, proxy: DatabaseProxy
) -> None:
    database = through()
    call = Deferred.fromCoroutine(database.transact(ask))
    database.stopService()
    call.addErrback(lambda failure: failure.trap(DatabaseUnavailable))
    await call
    for line in proxy.lines:
        await line.closed
