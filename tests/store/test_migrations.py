from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from sbm.store import migrations
from sbm.store.errors import MigrationFailed
from sbm.store.queries import sql_directory
from tests.arrange import arranged
from tests.db.databases import Databases
from tests.store import schema


@pytest.fixture
def empty_uri(databases: Databases) -> Iterator[str]:
    """A database without anything in it."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name)
    databases.drop(name)


def files() -> list[Path]:
    return sorted((sql_directory() / "migrations").glob("*.sql"))


def test_all_are_applied_in_order_and_then_none(empty_uri: str) -> None:
    assert migrations.status(empty_uri).pending == migrations.names()
    assert migrations.check(empty_uri) is not None
    assert migrations.migrate(empty_uri) == migrations.names()
    assert migrations.migrate(empty_uri) == ()
    assert migrations.status(empty_uri).applied == migrations.names()
    assert migrations.check(empty_uri) is None


def test_two_at_once_apply_each_once(empty_uri: str) -> None:
    with ThreadPoolExecutor(2) as threads:
        applied = [*threads.map(migrations.migrate, [empty_uri] * 2)]
    assert sorted(applied[0] + applied[1]) == [*migrations.names()]


def test_a_file_can_be_applied_by_hand(empty_uri: str) -> None:
    first, *_ = files()
    with arranged(empty_uri) as behind:
        behind.rows(first.read_text(encoding="utf-8"))
    assert migrations.status(empty_uri).applied == (first.stem,)
    assert migrations.migrate(empty_uri) == migrations.names()[1:]


def test_all_files_by_hand_come_to_the_same(empty_uri: str) -> None:
    with arranged(empty_uri) as behind:
        for path in files():
            behind.rows(path.read_text(encoding="utf-8"))
    assert migrations.check(empty_uri) is None
    assert migrations.migrate(empty_uri) == ()


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_that_is_applied_already_fails_and_changes_nothing(
    database_uri: str, path: Path
) -> None:
    with arranged(database_uri) as behind:
        before = behind.rows("SELECT * FROM schema_migrations ORDER BY name")
        with pytest.raises(psycopg2.Error):
            behind.rows(path.read_text(encoding="utf-8"))
        behind.rows("ROLLBACK")
        assert behind.rows("SELECT * FROM schema_migrations ORDER BY name") == before


def test_a_failing_file_changes_nothing_and_those_before_it_stay(empty_uri: str) -> None:
    with arranged(empty_uri) as behind:
        behind.rows("CREATE TABLE subscriptions ()")
    with pytest.raises(MigrationFailed, match=r"0004_create_subscriptions\.sql: "):
        migrations.migrate(empty_uri)
    applied = migrations.status(empty_uri).applied
    assert applied[-1].startswith("0003")
    with arranged(empty_uri) as behind:
        assert behind.value("SELECT to_regclass('sends') IS NULL")


@pytest.mark.parametrize(
    ("mode", "kind"), [("schedule", "schedule"), ("subscription", "members"), ("builtin", None)]
)
def test_only_schedules_that_were_told_in_wrong_words_are_told_again(
    empty_uri: str, mode: str, kind: str | None
) -> None:
    changed: tuple[dict[str, str], ...] = (
        *({"day_of_week": "7"}, {"minute": "5/10"}, {"day_of_week": "5-7"}, {"minute": "61"}),
        {"day_of_month": "31", "month_of_year": "4"},
    )
    same: tuple[dict[str, str], ...] = (
        *({}, {"minute": "*/5", "hour": "8,18"}, {"day_of_week": "1-5/2"}, {"day_of_week": "0"}),
        *({"day_of_month": "1-7", "day_of_week": "1"}, {"minute": " 1 , 2"}, {"hour": ""}),
        {"day_of_month": "29", "month_of_year": "2"},
    )
    with arranged(empty_uri) as behind:
        for path in files():
            if path.stem.startswith("0021"):
                wrong = [str(behind.schedule(**fields)) for fields in changed]
                for fields in same:
                    behind.schedule(**fields)
                behind.rows("DELETE FROM chores")
                behind.rows("UPDATE scheduling SET mode = %s", mode)
            behind.rows(path.read_text(encoding="utf-8"))
        owed = [(row["kind"], row["target"]) for row in behind.rows("SELECT * FROM chores")]
    assert owed == [(kind, target) for target in wrong if kind]


def test_indexes_of_the_ledger_that_were_built_before_are_attached_as_they_are(
    empty_uri: str,
) -> None:
    built = "SELECT indexrelid FROM pg_index WHERE indrelid = %s::regclass AND indkey = %s"
    with arranged(empty_uri) as behind:
        for path in files():
            if path.stem.startswith("0028"):
                column = behind.value(
                    "SELECT attnum::text FROM pg_attribute"
                    " WHERE attrelid = 'ledger_default'::regclass AND attname = 'identity'"
                )
                behind.rows("CREATE INDEX CONCURRENTLY ON ledger_default (identity)")
                before = behind.value(f"{built}::int2vector", "ledger_default", column)
            behind.rows(path.read_text(encoding="utf-8"))
        attached = behind.rows(
            "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ledger_identity'::regclass"
        )
        assert before in [row["inhrelid"] for row in attached]
        assert len(behind.rows(f"{built}::int2vector", "ledger_default", column)) == 1


def test_each_opens_with_its_reason_and_records_itself() -> None:
    for path in files():
        text = path.read_text(encoding="utf-8")
        assert text.startswith("-- Why: "), path.name
        assert f"schema_migrations (name) VALUES ('{path.stem}');" in text, path.name


def test_a_newer_schema_is_refused(database_uri: str) -> None:
    with arranged(database_uri) as behind:
        behind.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
    complaint = migrations.check(database_uri)
    assert complaint is not None
    assert "9999_from_the_future" in complaint


def test_an_old_server_is_refused() -> None:
    complaint = migrations.complaint(set(migrations.names()), 130010)
    assert complaint is not None
    assert "14 or newer" in complaint


def test_schema_sql_is_what_the_migrations_make(database_uri: str) -> None:
    from sbm.sandbox.postgres import EmbeddedPostgres

    pg_dump = EmbeddedPostgres(Path("/nowhere")).bin_dir / "pg_dump"
    with arranged(database_uri) as behind:
        if behind.value("SHOW server_version_num")[:2] != "18":
            pytest.skip("servers of other versions describe the same schema in other words")
    assert schema.dump(pg_dump, database_uri) == schema.path().read_text(encoding="utf-8")
