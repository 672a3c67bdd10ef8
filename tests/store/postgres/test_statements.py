from __future__ import annotations

import ast
import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

import sbm
from sbm.store.postgres import statements
from sbm.store.postgres.prepared import Preparation
from sbm.store.postgres.statements import Queries, Query, load, sql_directory
from tests.db.databases import Databases

NOUNS = sorted(
    path.stem
    for path in (sql_directory() / "queries").glob("*.sql")
    if path.stem not in ("page", "parts")
)
STATEMENTS = [
    pytest.param(query, id=f"{noun}.{query.name}")
    for noun in NOUNS
    for query in load(noun).by_name.values()
]
# The pages of a list, and its filters one by one.
COMBINATIONS = [
    pytest.param(window, wanted, id=f"{noun}.{query.name}-{place}-{wanted}")
    for noun in NOUNS
    for query in load(noun).by_name.values()
    for place, window in (("first", query), ("after", query.after), ("before", query.before))
    if window is not None
    for wanted in (None, *query.optional, *(["all"] if query.optional else []))
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


@pytest.mark.parametrize(("query", "wanted"), COMBINATIONS)
def test_every_combination_of_conditions_fits_the_schema(
    planner: Any, query: Query, wanted: str | None
) -> None:
    """Postgres plans it; if sessions prepare it, it knows the types of all parameters."""
    nulls: dict[str, None] = defaultdict(lambda: None)
    chosen = query.optional if wanted == "all" else [wanted]
    given: dict[str, Any] = dict.fromkeys(query.optional)
    given |= {name: name in ("active", "completed") or 1 for name in chosen if name}
    sql = query.given(given)
    if not query.is_prepared:
        if not re.search(r"^(TRUNCATE|ANALYZE) \w+;", sql, re.MULTILINE):
            planner.execute(f"EXPLAIN {sql}", nulls)
        return
    preparation = Preparation.of(sql, "one")
    planner.execute(preparation.prepare)
    planner.execute(f"EXPLAIN {preparation.execute}", nulls)
    planner.execute("DEALLOCATE one")


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_is_used_by_one_function_and_no_other_is_named(noun: str) -> None:
    functions = re.split(r"^(?=async def |def )", source_of(noun), flags=re.MULTILINE)
    used = [name for text in functions for name in set(re.findall(r"QUERIES\.(\w+)", text))]
    assert sorted(used) == sorted(load(noun).by_name)


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_is_run_as_it_says(noun: str) -> None:
    """By the method of its cardinality; what is handed on is seen when it runs."""
    for node in ast.walk(ast.parse(source_of(noun))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("one", "maybe", "many", "execute")
            and isinstance(node.args[0], ast.Attribute)
        ):
            query = getattr(load(noun), node.args[0].attr)
            assert node.func.attr == {"exec": "execute"}.get(query.returns, query.returns), query


def source_of(noun: str) -> str:
    """The module that speaks the statements of a file."""
    (path,) = (Path(sbm.__file__).parent / "store").rglob(f"{noun}.py")
    return path.read_text(encoding="utf-8")


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match=r"sends\.sql has no statement named nonsense"):
        _ = load("sends").nonsense


PARTS = """\
-- Parts.

-- part: those
-- Those that count, in {set}.
kind = 'a' AND {others}

-- part: others
-- The others.
size > %(least)s
"""
FRAME = """\
-- The frame.
{wanted} | {window} | {result} | {beyond_end}
-- result: whole
{shown} | {ends}
-- result: sized
{size} of {shown}
-- window: first
{order}
-- window: after
{key} {behind} {from} | {order}
-- window: between
{key} {behind} {from} not {until}
-- window: before
{key} {before} {from} | {reversed}
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Queries]:
    """Loads statements that a test has written."""
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "page.sql").write_text(FRAME)
    (tmp_path / "queries" / "parts.sql").write_text(PARTS)
    monkeypatch.setattr(statements, "sql_directory", lambda: tmp_path)

    def loaded(text: str) -> Queries:
        (tmp_path / "queries" / "odd.sql").write_text(text)
        return load("odd")

    return loaded


def test_a_statement_is_what_its_header_says(loaded: Callable[[str], Queries]) -> None:
    queries = loaded(
        "-- Odd ones.\n\n-- columns:\nid,\n       b\n\n"
        "-- name: first :maybe\n-- reads\n-- One.\nSELECT {columns} FROM t;\n\n"
        "-- name: second :exec\n-- fires: a, b\n-- Another.\n-- reads\nDELETE FROM t;\n"
    )
    assert queries.first == Query(
        name="first", sql="-- One.\nSELECT id,\n       b FROM t;", returns="maybe", reads=True
    )
    assert queries.second == Query(
        name="second",
        sql="-- Another.\n-- reads\nDELETE FROM t;",
        returns="exec",
        fires=("a", "b"),
    )


def test_a_page_gets_its_frame(loaded: Callable[[str], Queries]) -> None:
    plain = "-- name: a :many\n-- page: id\n-- A.\nSELECT 1;\n"
    shown = (
        "-- name: b :many\n-- page: at DESC, id DESC\n-- sized: c, d\n-- B.\nSELECT 2\n"
        "-- shown:\nSELECT 3;\n"
    )
    queries = loaded(plain + shown)
    assert queries.a.page == ("id",)
    begin = "-- The frame.\n-- A.\nSELECT 1"
    end = "SELECT * FROM page | (SELECT id FROM ending) AS end_id"
    beyond = "GREATEST((SELECT count(*) FROM found) - %(limit)s::bigint, 0)"
    assert windows(queries.a) == [
        f"{begin} | id | {end} | {beyond}",
        f"{begin} | id > %(from_id)s | id | {end} | {beyond}",
        f"{begin} | id > %(from_id)s not %(until_id)s | {end} | {beyond}",
        f"{begin} | id < %(from_id)s | id DESC | {end} | 0",
    ]
    assert queries.b.page == ("at", "id")
    begin = "-- The frame.\n-- B.\nSELECT 2"
    size = "(COALESCE(octet_length(c), 0) + COALESCE(octet_length(d), 0)) of SELECT 3"
    place = "%(from_at)s, %(from_id)s"
    assert windows(queries.b) == [
        f"{begin} | at DESC, id DESC | {size} | {beyond}",
        f"{begin} | at, id < {place} | at DESC, id DESC | {size} | {beyond}",
        f"{begin} | at, id < {place} not %(until_at)s, %(until_id)s | {size} | {beyond}",
        f"{begin} | at, id > {place} | at, id | {size} | 0",
    ]


def windows(query: Query) -> list[str]:
    """The SQL of the first page, and of those after a key, between two, and before one."""
    others = [query.after, query.between, query.before]
    return [query.sql, *(one.sql for one in others if one is not None)]


def test_a_condition_is_left_out_if_its_parameter_is_null(
    loaded: Callable[[str], Queries],
) -> None:
    """The other brackets are those of SQL."""
    query = loaded(
        "-- name: a :many\n-- A.\nSELECT ARRAY[1] FROM t\n WHERE true\n  [AND b = %(b)s]\n"
        "  [AND c[1] = %(c)s\n       OR c[2] = %(c)s]\n ORDER BY d;\n"
    ).a
    head, end = "-- A.\nSELECT ARRAY[1] FROM t\n WHERE true\n", "\n ORDER BY d;"
    b, c = "  AND b = %(b)s", "  AND c[1] = %(c)s\n       OR c[2] = %(c)s"
    assert query.optional == ["b", "c"]
    assert query.sql == query.given({"b": 1, "c": False}) == f"{head}{b}\n{c}{end}"
    assert query.given({"b": 1, "c": None}) == f"{head}{b}\n{end}"
    assert query.given({"b": None, "c": 0}) == f"{head}\n{c}{end}"
    assert query.given({"b": None, "c": None}) == f"{head}\n{end}"


def test_some_values_are_written_out(loaded: Callable[[str], Queries]) -> None:
    query = loaded(
        "-- name: a :many\n-- prepared: b\n-- A.\nSELECT FROM t\n WHERE true\n  [AND b = %(b)s]\n"
    ).a
    assert query.is_prepared
    assert query.sql.endswith("AND b = %(b)s")
    assert query.given({"b": False}).endswith("AND b = false")
    assert query.given({"b": -2}).endswith("AND b = -2")
    with pytest.raises(ValueError, match="format code 'd'"):
        query.given({"b": "'; DROP TABLE t"})


def test_a_prepared_statement_has_numbers_for_its_parameters() -> None:
    found = Preparation.of("SELECT %(b)s, %(a)s, 5 %% 2 WHERE %(b)s", "one")
    assert found.prepare == "PREPARE one AS\nSELECT $1, $2, 5 % 2 WHERE $1"
    assert found.execute == "EXECUTE one (%(b)s, %(a)s)"
    assert Preparation.of("SELECT 1", "two").execute == "EXECUTE two"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- name: a :one\n-- A.\nSELECT 1\n" * 2, r"odd\.sql names a twice"),
        ("-- name: a\n-- A.\nSELECT 1", "odd.sql, a: .* say :one, :maybe, :many or :exec"),
        ("-- name: a :two\n-- A.\nSELECT 1", "odd.sql, a :two: .* say :one"),
        ("-- name: a :one\nSELECT 1", "odd.sql, a :one: it does not say what it is for"),
        ("-- name: a :one\n-- fries: b\n-- A.\nSELECT 1", "what fries means is not known"),
        ("-- name: a :one\n-- page: id\n-- A.\nSELECT 1", "a page is :many"),
        ("-- name: a :many\n-- page: at\n-- A.\nSELECT 1", "ends with id"),
        ("-- name: a :many\n-- page: a DESC, id\n-- A.\nSELECT 1", "in one direction"),
        (
            "-- name: a :many\n-- A.\nSELECT 1\n [WHERE b]",
            "an optional condition has one parameter",
        ),
        ("-- name: a :many\n-- A.\nSELECT 1\n [WHERE %(a)s = %(b)s]", "has one parameter"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    loaded: Callable[[str], Queries], text: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        loaded(text)


def test_what_the_old_service_is_read_with_says_what_it_returns_too() -> None:
    for path in (sql_directory() / "django").glob("*.sql"):
        assert load(path.stem, folder="django").by_name
