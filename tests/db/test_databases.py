"""The databases that tests are given."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import psycopg2
import pytest

from tests.db.databases import Databases, with_database


def ask(uri: str, statement: str) -> object:
    """The one value that a statement answers, committed."""
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


@pytest.fixture
def name() -> str:
    """A name that no other run uses."""
    return f"sbm_test_{uuid4().hex[:12]}"


@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_sees_nothing_that_another_one_wrote(database_uri: str, turn: int) -> None:
    assert ask(database_uri, "SELECT to_regclass('left_behind')") is None
    ask(database_uri, "CREATE TABLE left_behind ()")


def test_a_test_finds_the_migrated_schema(database_uri: str) -> None:
    assert ask(database_uri, "SELECT to_regclass('subscriptions')") is not None


def test_a_copy_has_what_its_template_has(databases: Databases, name: str) -> None:
    ask(databases.create(name), "CREATE TABLE kept AS SELECT 7 AS number")
    copy = databases.create(f"{name}_copy", template=name)

    assert ask(copy, "SELECT number FROM kept") == 7


def test_a_database_is_dropped_under_an_open_connection(databases: Databases, name: str) -> None:
    uri = databases.create(name)
    with closing(psycopg2.connect(uri)):
        databases.drop(name)

    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(uri)


def test_closing_drops_what_is_left(postgres_uri: str, databases: Databases, name: str) -> None:
    other = Databases(postgres_uri)
    uri = other.create(name)
    other.close()

    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://u@/postgres?host=/a/b", "postgresql://u@/other?host=/a/b"),
        ("postgresql:///postgres?host=/a/b", "postgresql:///other?host=/a/b"),
        ("postgres://u:p@localhost:5433/x", "postgres://u:p@localhost:5433/other"),
        ("postgres://u:p@%2Frun%2Fpg/x", "postgres://u:p@%2Frun%2Fpg/other"),
        ("postgres://localhost", "postgres://localhost/other"),
    ],
)
def test_only_the_name_of_the_database_changes(uri: str, expected: str) -> None:
    assert with_database(uri, "other") == expected
