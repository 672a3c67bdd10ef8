from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path

import psycopg2
import pytest

import sbm
from sbm.store import queries
from sbm.store.queries import Query, load, sql_directory

NOUNS = sorted(path.stem for path in (sql_directory() / "queries").glob("*.sql"))
STATEMENTS = [
    pytest.param(query, id=f"{noun}.{query.name}")
    for noun in NOUNS
    for query in load(noun).by_name.values()
]


@pytest.mark.parametrize("query", STATEMENTS)
def test_every_statement_fits_the_schema(database_uri: str, query: Query) -> None:
    """Postgres plans it, with null for every parameter."""
    nulls: dict[str, None] = defaultdict(lambda: None)
    connection = psycopg2.connect(database_uri)
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {query.sql}", nulls)
        assert cursor.fetchall()


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_is_used_and_says_what_it_is_for(noun: str) -> None:
    used = (Path(sbm.__file__).parent / "store" / f"{noun}.py").read_text(encoding="utf-8")
    for query in load(noun).by_name.values():
        assert f"QUERIES.{query.name}" in used, query.name
        assert query.sql.startswith("-- "), query.name


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match=r"sends\.sql has no statement named nonsense"):
        _ = load("sends").nonsense


def test_a_name_that_is_there_twice_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "odd.sql").write_text("-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n")
    monkeypatch.setattr(queries, "sql_directory", lambda: tmp_path)
    with pytest.raises(ValueError, match="twice"):
        load("odd")
