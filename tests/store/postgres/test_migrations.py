from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg2
import pytest
from attrs import define

from sbm.store.postgres import migrations, session
from sbm.store.postgres.errors import DatabaseUnfit, MigrationFailed
from sbm.store.postgres.statements import sql_directory
from tests.arrange import arranged
from tests.db.databases import Databases
from tests.store.postgres import schema


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
    with arranged(empty_uri) as direct:
        direct.rows(first.read_text(encoding="utf-8"))
    assert migrations.status(empty_uri).applied == (first.stem,)
    assert migrations.migrate(empty_uri) == migrations.names()[1:]


def test_all_files_by_hand_come_to_the_same(empty_uri: str) -> None:
    with arranged(empty_uri) as direct:
        for path in files():
            direct.rows(path.read_text(encoding="utf-8"))
    assert migrations.check(empty_uri) is None
    assert migrations.migrate(empty_uri) == ()


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_file_that_is_applied_already_fails_and_changes_nothing(
    database_uri: str, path: Path
) -> None:
    with arranged(database_uri) as direct:
        before = direct.rows("SELECT * FROM schema_migrations ORDER BY name")
        with pytest.raises(psycopg2.Error):
            direct.rows(path.read_text(encoding="utf-8"))
        direct.rows("ROLLBACK")
        assert direct.rows("SELECT * FROM schema_migrations ORDER BY name") == before


def test_a_failing_file_changes_nothing_and_those_before_it_stay(empty_uri: str) -> None:
    with arranged(empty_uri) as direct:
        direct.rows("CREATE TABLE subscriptions ()")
    with pytest.raises(MigrationFailed, match=r"0004_create_subscriptions\.sql: "):
        migrations.migrate(empty_uri)
    applied = migrations.status(empty_uri).applied
    assert applied[-1].startswith("0003")
    with arranged(empty_uri) as direct:
        assert direct.value("SELECT to_regclass('sends') IS NULL")


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
    with arranged(empty_uri) as direct:
        for path in files():
            if path.stem.startswith("0021"):
                wrong = [str(direct.schedule(**fields)) for fields in changed]
                for fields in same:
                    direct.schedule(**fields)
                direct.rows("DELETE FROM chores")
                direct.rows("UPDATE scheduling SET mode = %s", mode)
            direct.rows(path.read_text(encoding="utf-8"))
        owed = [
            (row["kind"], row["target"]) for row in direct.rows("SELECT * FROM scheduler_calls")
        ]
    assert owed == [(kind, target) for target in wrong if kind]


def test_indexes_of_the_ledger_that_were_built_before_are_attached_as_they_are(
    empty_uri: str,
) -> None:
    built = "SELECT indexrelid FROM pg_index WHERE indrelid = %s::regclass AND indkey = %s"
    with arranged(empty_uri) as direct:
        for path in files():
            if path.stem.startswith("0028"):
                column = direct.value(
                    "SELECT attnum::text FROM pg_attribute"
                    " WHERE attrelid = 'ledger_default'::regclass AND attname = 'identity'"
                )
                direct.rows("CREATE INDEX CONCURRENTLY ON ledger_default (identity)")
                before = direct.value(f"{built}::int2vector", "ledger_default", column)
            direct.rows(path.read_text(encoding="utf-8"))
        attached = direct.rows(
            "SELECT inhrelid FROM pg_inherits WHERE inhparent = 'ledger_identity'::regclass"
        )
        assert before in [row["inhrelid"] for row in attached]
        assert len(direct.rows(f"{built}::int2vector", "ledger_default", column)) == 1


def test_what_is_owed_to_the_scheduler_is_kept_when_its_tables_are_renamed(empty_uri: str) -> None:
    with arranged(empty_uri) as direct:
        for path in files():
            if path.stem.startswith("0031"):
                direct.rows("UPDATE scheduling SET mode = 'schedule'")
                schedule = str(direct.schedule())
                direct.rows(
                    "INSERT INTO chores (kind, target, state, waits_for, lease_until, reason)"
                    " VALUES ('leftover', 'a', 'claimed', NULL, now(), ''),"
                    " ('leftover', 'b', 'waiting', '* * * * *', NULL, ''),"
                    " ('leftover', 'c', 'refused', NULL, NULL, 'no');"
                    " INSERT INTO remote_schedules (kind, target, remote_id)"
                    " VALUES ('schedule', '1', 'x');"
                    " INSERT INTO remote_listing"
                    " (listing_id, remote_id, kind, target, enabled, created_at)"
                    " VALUES (gen_random_uuid(), 'x', 'schedule', '1', true, now());"
                    " INSERT INTO scheduler_crons (cron_definition, chore_id, attempt)"
                    " SELECT '* * * * *', id, attempt FROM chores WHERE target = 'a'"
                )
                calls = direct.rows("SELECT * FROM chores ORDER BY id")
                schedules = direct.rows("SELECT * FROM remote_schedules")
                steps = direct.rows("SELECT * FROM chore_steps ORDER BY id")
            direct.rows(path.read_text(encoding="utf-8"))
        assert direct.rows("SELECT * FROM scheduler_calls ORDER BY id") == calls
        assert direct.rows("SELECT * FROM scheduler_schedules") == schedules
        assert direct.rows("SELECT * FROM scheduler_call_steps ORDER BY id") == steps
        assert direct.value("SELECT count(*) FROM scheduler_listing") == 1
        claimed = "SELECT target FROM scheduler_crons JOIN scheduler_calls ON id = call_id"
        assert direct.value(claimed) == "a"
        direct.rows("UPDATE schedules SET minute = '7'")
        direct.rows(
            "SELECT owe_scheduler_call('leftover', 'c'), owe_scheduler_call('leftover', 'd')"
        )
        owed = direct.rows("SELECT target, state, revision FROM scheduler_calls ORDER BY id")
        assert [tuple(row.values()) for row in owed] == [
            (schedule, "owed", 1),
            ("a", "claimed", 0),
            ("b", "waiting", 0),
            ("c", "owed", 1),
            ("d", "owed", 0),
        ]


def test_each_opens_with_its_reason_and_records_itself() -> None:
    for path in files():
        text = path.read_text(encoding="utf-8")
        assert text.startswith("-- Why: "), path.name
        assert f"schema_migrations (name) VALUES ('{path.stem}');" in text, path.name


def test_a_newer_schema_is_refused(database_uri: str) -> None:
    with arranged(database_uri) as direct:
        direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
    problem = migrations.check(database_uri)
    assert problem is not None
    assert "9999_from_the_future" in problem


def test_a_newer_schema_is_left_alone(empty_uri: str) -> None:
    """Though it lacks something of this release as well."""
    migrations.migrate(empty_uri)
    with arranged(empty_uri) as direct:
        direct.rows("INSERT INTO schema_migrations (name) VALUES ('9999_from_the_future')")
        direct.rows("DELETE FROM schema_migrations WHERE name = %s", migrations.names()[-1])
        with pytest.raises(MigrationFailed, match="newer release: it has 9999_from_the_future"):
            migrations.migrate(empty_uri)
        assert not direct.rows(
            "SELECT FROM schema_migrations WHERE name = %s", migrations.names()[-1]
        )


def test_nothing_is_applied_on_an_old_server(
    empty_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OLDEST_SERVER", 990000)
    with pytest.raises(DatabaseUnfit, match=r"PostgreSQL 99 or newer is needed, and the server is"):
        migrations.migrate(empty_uri)
    with arranged(empty_uri) as direct:
        assert direct.value("SELECT to_regclass('schema_migrations') IS NULL")


# Locks


@pytest.mark.parametrize(
    "lock",
    [
        "LOCK TABLE schema_migrations IN SHARE MODE",
        "SELECT pg_advisory_lock(736266, 1)",
        "LOCK TABLE ledger IN ACCESS SHARE MODE",
    ],
)
def test_a_lock_is_not_waited_for_for_long_but_tried_again_and_told(
    database_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: str
) -> None:
    """The world would queue behind it."""
    folder = tmp_path / "migrations"
    shutil.copytree(sql_directory() / "migrations", folder)
    (folder / "9999_alter_ledger.sql").write_text(
        "BEGIN; SELECT pg_advisory_xact_lock(736266, 1); ALTER TABLE ledger ADD COLUMN a integer;"
        " INSERT INTO schema_migrations (name) VALUES ('9999_alter_ledger'); COMMIT;"
    )
    monkeypatch.setattr(migrations, "sql_directory", lambda: tmp_path)
    holder = psycopg2.connect(database_uri, application_name="holder")
    told: list[str] = []
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        with arranged(database_uri) as other:  # who comes in between is not held up
            other.rows("SET statement_timeout = '10s'")
            other.rows("SELECT FROM ledger")
        if "holder" in told[-1]:
            holder.rollback()
            with holder.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")
            holder.rollback()

    with closing(holder), holder.cursor() as cursor:
        cursor.execute(lock)
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone() or (0,)
        assert migrations.migrate(database_uri, tell=told.append, pause=pause) == (
            "9999_alter_ledger",
        )
    assert f"waits for process {pid} (user " in told[-1]
    assert "holder, idle in transaction, since" in told[-1]
    assert set(pauses) == {migrations.PAUSE_SECONDS}


# The owner of the partitions

PARENTS = {"ledger", "audit", "deliveries", "intake"}


@define(eq=False, kw_only=True)
class Roles:
    """An owner, and a member of the owner's role; sessions of either are a superuser's."""

    uri: str
    owner: str
    member: str

    def of(self, role: str) -> str:
        return f"{self.uri}{'&' if '?' in self.uri else '?'}options={quote(f'-c role={role}')}"

    def owners(self) -> set[str]:
        with arranged(self.uri) as direct:
            rows = direct.rows(
                "SELECT pg_get_userbyid(relowner) AS owner FROM pg_class JOIN pg_inherits"
                " ON inhrelid = pg_class.oid WHERE inhparent = 'ledger'::regclass"
            )
        return {row["owner"] for row in rows}


@pytest.fixture
def roles(empty_uri: str) -> Iterator[Roles]:
    some = uuid4().hex[:12]
    roles = Roles(uri=empty_uri, owner=f"sbm_owner_{some}", member=f"sbm_member_{some}")
    with arranged(empty_uri) as direct:
        name = direct.value("SELECT current_database()")
        direct.rows(
            f"CREATE ROLE {roles.owner}; CREATE ROLE {roles.member} IN ROLE {roles.owner};"
            f"ALTER DATABASE {name} OWNER TO {roles.owner}; GRANT CREATE ON SCHEMA public TO"
            f" {roles.owner}"
        )
        yield roles
        direct.rows(
            f"DROP OWNED BY {roles.owner}, {roles.member} CASCADE; ALTER DATABASE {name} OWNER TO"
            f" CURRENT_USER; DROP ROLE {roles.member}, {roles.owner}"
        )


def test_partitions_that_a_member_of_the_owners_role_makes_are_the_owners(roles: Roles) -> None:
    migrations.migrate(roles.of(roles.owner))
    with arranged(roles.of(roles.member)) as direct:
        assert direct.value("SELECT make_partitions('ledger', 12)") == 10
    assert roles.owners() == {roles.owner}
    with arranged(roles.of(roles.owner)) as direct:
        direct.rows("ALTER TABLE ledger ADD COLUMN later integer")
    with arranged(roles.of(roles.member)) as direct:
        assert direct.value("SELECT drop_partitions('ledger', -14)") == 13


def test_who_is_no_member_may_not_drop_the_ledger(roles: Roles) -> None:
    migrations.migrate(roles.of(roles.owner))
    with arranged(roles.uri) as direct:
        direct.rows(f"REVOKE {roles.owner} FROM {roles.member}")
    with arranged(roles.of(roles.member)) as direct:
        for function in ("make", "drop"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                direct.rows(f"SELECT {function}_partitions('ledger', -14)")


def disown_a_partition(roles: Roles) -> str:
    with arranged(roles.uri) as direct:
        name = str(
            direct.value(
                "SELECT max(inhrelid::regclass::text) FROM pg_inherits"
                " WHERE inhparent = 'ledger'::regclass AND inhrelid <> 'ledger_default'::regclass"
            )
        )
        direct.rows(f"ALTER TABLE {name} OWNER TO {roles.member}")
    return name


@pytest.mark.parametrize("by", ["member", "superuser"])
def test_partitions_of_others_are_given_to_the_owner(roles: Roles, by: str) -> None:
    migrations.migrate(roles.of(roles.owner))
    disown_a_partition(roles)
    assert migrations.migrate(roles.of(roles.member) if by == "member" else roles.uri) == ()
    assert roles.owners() == {roles.owner}


def test_partitions_that_cannot_be_given_are_told_before_anything_is_applied(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = files()
    monkeypatch.setattr(migrations, "_files", lambda: released[:6])
    migrations.migrate(roles.of(roles.owner))
    name = disown_a_partition(roles)
    monkeypatch.undo()
    with pytest.raises(MigrationFailed) as caught:
        migrations.migrate(roles.of(roles.owner))
    assert f'ALTER TABLE "{name}" OWNER TO "{roles.owner}"' in str(caught.value)
    assert f"{name} belongs to {roles.member}" in str(caught.value)
    assert len(migrations.status(roles.uri).applied) == 6


@pytest.mark.parametrize("by", ["owner", "member", "superuser"])
def test_tables_with_partitions_that_an_upgrade_makes_are_the_owners_of_the_ledger(
    roles: Roles, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = files()
    monkeypatch.setattr(migrations, "_files", lambda: released[:48])
    migrations.migrate(roles.of(roles.owner))
    monkeypatch.undo()
    uris = {"owner": roles.of(roles.owner), "member": roles.of(roles.member)}
    migrations.migrate(uris.get(by, roles.uri))
    with arranged(roles.of(roles.owner)) as direct:
        rows = direct.rows(
            "SELECT parent.relname, pg_get_userbyid(child.relowner) AS owner"
            " FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent"
            " JOIN pg_class child ON child.oid = inhrelid WHERE parent.relkind = 'p'"
        )
        assert {row["relname"] for row in rows} == PARENTS
        assert {row["owner"] for row in rows} == {roles.owner}
        for parent in sorted(PARENTS):
            direct.rows("SELECT make_partitions(%s, 5), drop_partitions(%s, 1)", parent, parent)


def test_an_old_server_is_refused() -> None:
    problem = migrations.problem(set(migrations.names()), 130010)
    assert problem is not None
    assert "14 or newer" in problem


def test_schema_sql_is_what_the_migrations_make(database_uri: str) -> None:
    from sbm.sandbox.postgres import EmbeddedPostgres

    pg_dump = EmbeddedPostgres(folder=Path("/nowhere")).bin_dir / "pg_dump"
    with arranged(database_uri) as direct:
        if direct.value("SHOW server_version_num")[:2] != "18":
            pytest.skip("servers of other versions describe the same schema in other words")
    assert schema.dump(pg_dump, database_uri) == schema.path().read_text(encoding="utf-8")
