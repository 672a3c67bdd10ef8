"""What statements say of themselves, held against a server: whether it only reads."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from attrs import define

from sbm.store.postgres.statements import Query
from tests.db.databases import Databases
from tests.store.postgres.test_statements import STATEMENTS

# Volatile functions of which nothing is left to commit.
LEAVES_NOTHING = {
    *("clock_timestamp", "pg_advisory_xact_lock", "pg_terminate_backend", "pg_xact_status"),
    "set_config",
}

NULLS: dict[str, None] = defaultdict(lambda: None)


@define
class Server:
    """A database in which statements are tried, and undone."""

    connection: Any

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    @contextlib.contextmanager
    def undone(self, begin: str = "BEGIN") -> Iterator[None]:
        self.rows(begin)
        try:
            yield
        finally:
            self.rows("ROLLBACK")

    def leaves_something(self, query: Query) -> bool:
        """Whether there may be something to commit when the statement has run."""
        if self.functions(query) - LEAVES_NOTHING:
            return True
        with self.undone("BEGIN READ ONLY"):
            try:
                self.rows(query.sql, NULLS)
            except psycopg2.errors.ReadOnlySqlTransaction:
                return True
        return False

    def functions(self, query: Query) -> set[str]:
        """The volatile functions that it calls, by the tree that the server has made of it."""
        with self.undone(), self.connection.cursor() as cursor:
            body = cursor.mogrify(query.sql, NULLS).decode().rstrip().removesuffix(";")
            try:
                cursor.execute(
                    f"CREATE FUNCTION body() RETURNS void LANGUAGE sql BEGIN ATOMIC {body}; END"
                )
            except (psycopg2.errors.SyntaxError, psycopg2.errors.FeatureNotSupported):
                return {"a command"}
            cursor.execute("SELECT prosqlbody::text FROM pg_proc WHERE proname = 'body'")
            ((tree,),) = cursor.fetchall()
            called = re.findall(r":(?:funcid|aggfnoid|winfnoid|opfuncid) (\d+)", tree)
            cursor.execute(
                "SELECT proname FROM pg_proc WHERE oid = ANY(%s::oid[]) AND provolatile = 'v'",
                (called,),
            )
            return {name for (name,) in cursor.fetchall()}


@pytest.fixture(scope="module")
def server(databases: Databases, template_database: str) -> Iterator[Server]:
    """A server for all of them: what they do is undone."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    connection = psycopg2.connect(databases.create(name, template=template_database))
    connection.autocommit = True
    with contextlib.closing(connection):
        yield Server(connection)
    databases.drop(name)


@pytest.mark.parametrize("query", STATEMENTS)
def test_a_statement_says_that_it_reads_if_it_leaves_nothing(server: Server, query: Query) -> None:
    assert query.reads is not server.leaves_something(query)


def a_query(sql: str) -> Query:
    return Query(name="one", sql=sql, returns="exec")


@pytest.mark.parametrize(
    ("sql", "leaves_something"),
    [
        ("SELECT 1", False),
        ("-- Not to UPDATE it.\n  select 1", False),
        ("WITH one AS (SELECT id FROM schedules) SELECT * FROM one", False),
        ("SELECT pg_advisory_xact_lock(1)", False),
        ("WITH one AS (DELETE FROM schedules RETURNING 1) SELECT * FROM one", True),
        ("SELECT id FROM schedules WHERE false FOR UPDATE", True),
        ("SELECT make_ledger_partitions(2)", True),
        ("SELECT pg_notify('sbm_work', '') FROM schedules", True),
        ("SELECT owe_chore('schedule', id::text) FROM schedules", True),
        ("ANALYZE schedules", True),
    ],
)
def test_what_leaves_something_is_found(server: Server, sql: str, leaves_something: bool) -> None:
    assert server.leaves_something(a_query(sql)) is leaves_something
