"""Sessions: what they rely on is so, whatever the database, the role and the environment say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from psycopg2 import sql
from pytest_twisted import ensureDeferred

from sbm.model.send import Settled
from sbm.settings.endpoints import DatabaseAddress
from sbm.store import sends, ticks
from sbm.store.postgres import connecting as module
from sbm.store.postgres import migrations, synchronous
from sbm.store.postgres.database import RECONNECT_SECONDS, Database
from sbm.store.postgres.errors import DatabaseUnfit
from sbm.store.postgres.rows import by_column
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
from tests.store.postgres.database_proxy import reactor
from tests.store.postgres.test_migrations import files
from tests.store.transactions import Ahead, ask, query

MINUTE = timedelta(seconds=60)

# What ALTER DATABASE, ALTER ROLE and PGOPTIONS can say, each of which would break something.
ODD = {
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "TimeZone": "Asia/Kathmandu",
    "timezone_abbreviations": "India",
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "gin_fuzzy_search_limit": "1",
    "client_min_messages": "debug5",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "30s",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
    "idle_session_timeout": "30s",
    "exit_on_error": "on",
    "jit": "on",
    "sbm.scheduling": "subscription",
    "search_path": "elsewhere",
}
RELIED_ON = {
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "gin_fuzzy_search_limit": "0",
    "client_min_messages": "warning",
    "transaction_isolation": "read committed",
    "transaction_deferrable": "off",
    "idle_session_timeout": "0",
    "exit_on_error": "off",
    "jit": "off",
}
LIMITS = {
    "statement_timeout": "20s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "20s",
    "sbm.scheduling": "",
}


def alter(direct: Arranged, settings: dict[str, str]) -> None:
    """Let every session of this database begin with other settings."""
    name = direct.value("SELECT current_database()")
    for setting, value in settings.items():
        parts = (sql.Identifier(name), sql.Identifier(*setting.split(".")), sql.Literal(value))
        direct.rows(sql.SQL("ALTER DATABASE {} SET {} = {}").format(*parts))


def with_options(uri: str) -> str:
    """The same database, with the settings told by libpq."""
    told = " ".join(
        "-c {}={}".format(name, value.replace(" ", "\\ ")) for name, value in ODD.items()
    )
    return f"{uri}{'&' if '?' in uri else '?'}options={quote(told)}"


@pytest.fixture(params=["database", "options"])
def odd_uri(request: Any, database_uri: str, direct: Arranged) -> str:
    """A database whose sessions begin with odd settings, in either way."""
    if request.param == "options":
        return with_options(database_uri)
    alter(direct, ODD)
    return database_uri


async def shown(transaction: Transaction) -> dict[str, Any]:
    return {
        name: await ask(transaction, f"SELECT current_setting('{name}') AS answer")
        for name in (*RELIED_ON, *LIMITS)
    }


@pytest.fixture
def opened(request: Any) -> Callable[[str], Database]:
    def make(uri: str, by: Any = reactor) -> Database:
        database = Database(reactor=by, address=DatabaseAddress.parse(uri), size=2)
        request.addfinalizer(database.stopService)
        return database

    return make


@ensureDeferred
async def test_every_session_has_the_settings_that_we_rely_on(
    odd_uri: str, opened: Callable[[str], Database]
) -> None:
    assert await opened(odd_uri).transact(shown) == RELIED_ON | LIMITS


def test_so_has_that_of_a_command_that_blocks(odd_uri: str) -> None:
    with synchronous.opened(odd_uri) as connection, connection.cursor() as cursor:
        found = {}
        for name in RELIED_ON:
            cursor.execute(f"SHOW {name}")
            (found[name],) = cursor.fetchone() or ("",)
    assert found == RELIED_ON


@ensureDeferred
async def test_a_send_goes_its_whole_way_under_odd_settings(
    odd_uri: str, direct: Arranged, opened: Callable[[str], Database]
) -> None:
    schedule = direct.schedule()
    messageset = direct.messageset("pregnancy", schedule, messages=0)
    direct.message(messageset, 1, "eng_ZA", "☃ \\' é", metadata={"a": "\\d ☃"})
    direct.message(messageset, 2, "eng_ZA", "two")
    (subscription,) = direct.subscriptions(1, messageset, schedule, metadata={"a": "☃"})
    database = opened(odd_uri)
    await database.transact(ticks.open_tick, schedule_id=schedule)
    await database.transact(ticks.expand, limit=1000)
    (send,) = await database.transact(sends.claim, owner=uuid4(), limit=10, lease=MINUTE)
    assert send.recipient is not None
    assert send.recipient.message is not None
    assert send.recipient.message.text_content == "☃ \\' é"
    assert send.recipient.message.metadata.value == {"a": "\\d ☃"}
    sent = Settled(outcome="sent", stage="post", outbound_id="1", reason="☃\\n")
    await database.transact(sends.settle, results=[(send, sent)])
    assert direct.subscription(subscription)["next_sequence_number"] == 2
    assert [entry["reason"] for entry in direct.ledger()] == ["☃\\n"]


@ensureDeferred
async def test_values_come_and_go_as_they_are_under_odd_settings(
    odd_uri: str, opened: Callable[[str], Database]
) -> None:
    values = {
        "moment": datetime(2026, 3, 4, 5, 6, 7, 890123, timezone.utc),
        "span": timedelta(days=-1, seconds=1.5),
        "bytes": bytes(range(256)),
        "text": "☃\\'",
        "number": 0.1 + 0.2,
        "nothing": None,
    }

    async def work(transaction: Transaction) -> Any:
        return await transaction.one(
            query(
                "SELECT %(moment)s::timestamptz AS moment, %(span)s AS span, %(bytes)s AS bytes,"
                " %(text)s AS text, %(number)s::float8 AS number, %(nothing)s = NULL AS nothing",
                "one",
            ),
            by_column,
            **values,
        )

    row = await opened(odd_uri).transact(work)
    assert row | {"bytes": bytes(row["bytes"])} == values


def test_migrations_go_where_the_search_path_says_or_into_public(databases: Databases) -> None:
    for path, schema in (("elsewhere", "elsewhere"), ("nowhere", "public"), ("", "public")):
        name = f"sbm_test_{uuid4().hex[:12]}"
        uri = databases.create(name)
        try:
            with arranged(uri) as direct:
                direct.rows("CREATE SCHEMA elsewhere")
                alter(direct, {"search_path": path})
            assert migrations.migrate(uri) == migrations.names()
            assert migrations.check(uri) is None
            with arranged(uri) as direct:
                assert direct.value(f"SELECT to_regclass('{schema}.subscriptions') IS NOT NULL")
        finally:
            databases.drop(name)


@ensureDeferred
async def test_tables_elsewhere_are_not_taken_for_ours(
    database_uri: str, direct: Arranged, opened: Callable[[str], Database]
) -> None:
    direct.rows("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.schedules ()")
    alter(direct, {"search_path": "elsewhere, public"})

    async def work(transaction: Transaction) -> Any:
        return await ask(transaction, "SELECT count(minute) AS answer FROM schedules")

    assert await opened(database_uri).transact(work) == 0


@ensureDeferred
async def test_a_session_in_which_triggers_do_not_fire_is_refused(
    database_uri: str, direct: Arranged, opened: Callable[[str], Database]
) -> None:
    alter(direct, {"session_replication_role": "replica"})
    with pytest.raises(DatabaseUnfit, match="session_replication_role is replica"):
        await opened(database_uri).transact(ask)
    with pytest.raises(DatabaseUnfit, match="session_replication_role is replica"):
        migrations.migrate(database_uri)


# Encodings


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_uri(request: Any, databases: Databases) -> Iterator[str]:
    """An empty database of another encoding."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name, encoding=request.param)
    databases.drop(name)


@pytest.mark.parametrize("work", [migrations.migrate, migrations.status, migrations.check])
def test_another_encoding_is_refused_before_anything_is_applied(
    other_uri: str, work: Callable[[str], object]
) -> None:
    with pytest.raises(DatabaseUnfit, match=r"encoding is (SQL_ASCII|LATIN1), .* must be UTF8"):
        work(other_uri)
    with arranged(other_uri) as direct:
        assert direct.value("SELECT to_regclass('schema_migrations') IS NULL")


@ensureDeferred
async def test_a_daemon_refuses_another_encoding_until_it_is_another_database(
    other_uri: str, databases: Databases, template_database: str, opened: Callable[..., Database]
) -> None:
    with arranged(other_uri) as direct:
        for path in files():
            direct.rows(path.read_text(encoding="utf-8"))
        name = direct.value("SELECT current_database()")
    ahead = Ahead()
    database = opened(other_uri, ahead)
    for _ in range(2):  # the second comes before it is tried again
        with pytest.raises(DatabaseUnfit, match="must be UTF8"):
            await database.transact(ask)
    databases.drop(name)
    databases.create(name, template=template_database)
    ahead.by = RECONNECT_SECONDS
    assert await database.transact(ask) == 1


def test_old_servers_are_refused(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sbm.store.postgres.session.OLDEST_SERVER", 990000)
    with pytest.raises(DatabaseUnfit, match="PostgreSQL 99 or newer is needed"):
        migrations.check(database_uri)


def test_each_limit_of_a_daemons_session_is_longer_than_migrations_wait_for_a_lock() -> None:
    assert float(module._LIMITS["lock_timeout"].removesuffix("s")) > migrations.LOCK_SECONDS
