from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

import sbm
from sbm.store.postgres import statements
from sbm.store.postgres.statements import Query, load, sql_directory
from tests.db.databases import Databases

NOUNS = sorted(path.stem for path in (sql_directory() / "queries").glob("*.sql"))
STATEMENTS = [
    pytest.param(query, id=f"{noun}.{query.name}")
    for noun in NOUNS
    for query in load(noun).by_name.values()
]


@pytest.fixture(scope="module")
def planner(databases: Databases, template_database: str) -> Iterator[Any]:
    """A cursor on a database for all of them: planning changes nothing."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    connection = psycopg2.connect(databases.create(name, template=template_database))
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor
    databases.drop(name)


@pytest.mark.parametrize("query", STATEMENTS)
def test_every_statement_fits_the_schema(planner: Any, query: Query) -> None:
    """Postgres plans it, with null for every parameter; or does it, where there is no plan."""
    nulls: dict[str, None] = defaultdict(lambda: None)
    if re.search(r"^(TRUNCATE|ANALYZE) \w+;", query.sql, re.MULTILINE):
        planner.execute(query.sql)
        return
    planner.execute(f"EXPLAIN {query.sql}", nulls)
    assert planner.fetchall()


@pytest.mark.parametrize("query", STATEMENTS)
def test_what_is_said_to_only_read_does(planner: Any, query: Query) -> None:
    """Postgres runs it, with null for every parameter, where nothing may be written."""
    if not query.only_reads:
        return
    planner.execute("BEGIN READ ONLY")
    try:
        planner.execute(query.sql, defaultdict(lambda: None))
    finally:
        planner.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("sql", "only_reads"),
    [
        ("SELECT 1", True),
        ("-- One of them, not to UPDATE it.\n  select 1", True),
        ("WITH one AS (SELECT 1) SELECT * FROM one", True),
        ("WITH one AS (DELETE FROM rows RETURNING 1) SELECT * FROM one", False),
        ("SELECT 1 FROM rows FOR UPDATE", False),
        ("SELECT make_ledger_partitions(2)", False),
        ("SELECT pg_notify('sbm_work', '')", False),
        ("TRUNCATE rows", False),
        ("SET LOCAL lock_timeout = 0", False),
    ],
)
def test_what_may_write_is_told_from_what_only_reads(sql: str, only_reads: bool) -> None:
    assert Query(name="one", sql=sql).only_reads is only_reads


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_says_what_it_is_for(noun: str) -> None:
    for query in load(noun).by_name.values():
        assert query.sql.startswith("-- "), query.name


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_is_used_by_one_function_and_no_other_is_named(noun: str) -> None:
    (path,) = (Path(sbm.__file__).parent / "store").rglob(f"{noun}.py")
    source = path.read_text(encoding="utf-8")
    functions = re.split(r"^(?=async def |def )", source, flags=re.MULTILINE)
    used = [name for text in functions for name in set(re.findall(r"QUERIES\.(\w+)", text))]
    assert sorted(used) == sorted(load(noun).by_name)


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match=r"sends\.sql has no statement named nonsense"):
        _ = load("sends").nonsense


def test_a_name_that_is_there_twice_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "odd.sql").write_text("-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n")
    monkeypatch.setattr(statements, "sql_directory", lambda: tmp_path)
    with pytest.raises(ValueError, match="twice"):
        load("odd")
