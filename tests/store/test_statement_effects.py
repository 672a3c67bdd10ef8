"""What statements say of themselves, held against a server: what only reads, and what fires."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from attrs import define, field, frozen

from sbm.store.postgres.statements import Query
from tests.db.databases import Databases
from tests.store.postgres.test_statements import STATEMENTS

# Volatile functions of which nothing is left to commit.
LEAVES_NOTHING = {
    *("clock_timestamp", "pg_advisory_xact_lock", "pg_terminate_backend", "pg_xact_status"),
    *("pg_control_system", "pg_current_wal_lsn", "pg_is_in_recovery", "set_config"),
    "gen_random_uuid",
}

# A function that changes any audited row of the kinds that can be undone.
_ON_EACH_TABLE = """
    DO $do$
    DECLARE name text; row_id text; before jsonb;
    BEGIN
        FOR name IN SELECT unnest(ARRAY[
            'binary_contents', 'messages', 'messagesets', 'schedules', 'subscriptions', 'users',
            'user_permissions'])
        LOOP
            row_id := CASE name WHEN 'subscriptions' THEN gen_random_uuid()::text ELSE '1' END;
            before := (SELECT jsonb_object_agg(attname, NULL) FROM pg_attribute
                        WHERE attrelid = to_regclass(name) AND attnum > 0
                          AND attname NOT IN ('id', 'updated_at', 'updated_by'));
            BEGIN
                PERFORM %s;
            EXCEPTION WHEN integrity_constraint_violation THEN
                NULL;  -- its triggers have told of it before
            END;
        END LOOP;
    END $do$
"""

# Our own, as a statement calls them.
CALLS = {
    "owe_scheduler_call": "SELECT owe_scheduler_call('schedule', '1')",
    "make_partitions": "SELECT make_partitions('ledger', 1)",
    "drop_partitions": "SELECT drop_partitions('ledger', 1)",
    "lock_audited": "SELECT lock_audited('schedules', '1', '{}')",
    "put_back_row": _ON_EACH_TABLE % "put_back_row(name, before)",
    "reserve_moments": "SELECT reserve_moments(1, 1, 1, 1, '0', '1 second')",
    "lock_due_sends": "SELECT lock_due_sends(1, 1, '{}', NULL, NULL)",
    "lock_due_places": "SELECT lock_due_places(1, 1, '{}', NULL, NULL)",
}

# What pg_trigger says of the events, as bits.
EVENTS = {4: "INSERT", 8: "DELETE", 16: "UPDATE"}

NULLS: dict[str, None] = defaultdict(lambda: None)


@frozen(kw_only=True)
class Trigger:
    """A trigger, by the table that is named where rows of it are written."""

    name: str
    relation: str
    events: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def definition(self) -> str:
        """When it fires, as CREATE TRIGGER has it."""
        of = f" OF {', '.join(self.columns)}" if self.columns else ""
        return " OR ".join(f"{event}{of if event == 'UPDATE' else ''}" for event in self.events)


@frozen(kw_only=True)
class Reference:
    """A foreign key through which a delete reaches another table."""

    child: str
    parent: str
    event: str
    columns: tuple[str, ...]


@define
class Server:
    """A database in which every statement that could fire a trigger says so.

    A trigger for each statement tells of it beforehand, whether there are rows or none. One that is
    defined for a partition is told of where its table is written.
    """

    connection: Any
    triggers: list[Trigger] = field(init=False)
    references: list[Reference] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.triggers = [
            Trigger(
                name=name,
                relation=relation,
                events=tuple(event for bit, event in EVENTS.items() if kind & bit),
                columns=tuple(columns),
            )
            for name, relation, kind, columns in self.rows(
                "SELECT DISTINCT tgname, COALESCE(pg_partition_root(tgrelid), tgrelid)::regclass"
                "::text, tgtype, ARRAY(SELECT attname::text FROM pg_attribute"
                " WHERE attrelid = tgrelid AND attnum = ANY(tgattr::smallint[])"
                " ORDER BY attnum) FROM pg_trigger WHERE NOT tgisinternal"
                # One only writes to the audit, one changes what is being written.
                " AND tgname NOT IN ('audit_row', 'forgotten_result')"
            )
        ]
        self.references = [
            Reference(
                child=child,
                parent=parent,
                event="DELETE" if action == "c" else "UPDATE",
                columns=tuple(columns),
            )
            for child, parent, action, columns in self.rows(
                "SELECT conrelid::regclass::text, confrelid::regclass::text, confdeltype,"
                " ARRAY(SELECT attname::text FROM pg_attribute"
                " WHERE attrelid = conrelid AND attnum = ANY(conkey))"
                " FROM pg_constraint WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')"
            )
        ]
        self.rows(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE NOTICE '% %', TG_ARGV[0], TG_ARGV[1]; RETURN NULL; END $$"
        )
        for number, trigger in enumerate(self.triggers):
            self._tell(
                f"told_{number}", trigger.definition, trigger.relation, "fires", trigger.name
            )
        for parent in {reference.parent for reference in self.references}:
            self._tell("deletes", "DELETE", parent, "deletes", parent)

    def _tell(self, name: str, when: str, relation: str, *told: str) -> None:
        arguments = ", ".join(f"'{one}'" for one in told)
        self.rows(
            f"CREATE TRIGGER {name} BEFORE {when} ON {relation}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION tell({arguments})"
        )

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

    def fired_by(self, query: Query) -> set[str]:
        """The triggers that a statement can fire: by itself, its functions, or its deletes."""
        told = self._told(query.sql, self._tables_written(query))
        for name in self.functions(query) & CALLS.keys():
            told += self._told(CALLS[name], 0)
        fired = {name for what, name in told if what == "fires"}
        no_columns: tuple[str, ...] = ()
        reached = [(table, "DELETE", no_columns) for what, table in told if what == "deletes"]
        seen = set()
        while reached:
            table, event, columns = reached.pop()
            if (table, event, columns) in seen:
                continue
            seen.add((table, event, columns))
            fired |= {
                trigger.name
                for trigger in self.triggers
                if trigger.relation == table and event in trigger.events
                if event == "DELETE" or not trigger.columns or set(columns) & set(trigger.columns)
            }
            if event == "DELETE":
                reached += [
                    (one.child, one.event, one.columns)
                    for one in self.references
                    if one.parent == table
                ]
        return fired

    def _told(self, sql: str, tables_written: int) -> list[tuple[str, str]]:
        """What is told while a statement runs, with null for every parameter."""
        del self.connection.notices[:]
        try:
            with self.undone():
                self.rows(sql, NULLS)
        except psycopg2.DataError:
            assert tables_written == 0  # it calls a function that null is no good for
        except psycopg2.IntegrityError:
            assert tables_written <= 1  # of which it was told before
        notices = [notice.split() for notice in self.connection.notices]
        return [(what, name) for _, what, name in notices]

    def _tables_written(self, query: Query) -> int:
        try:
            ((plan,),) = self.rows(f"EXPLAIN (FORMAT JSON) {query.sql}", NULLS)
        except psycopg2.errors.SyntaxError:
            return 0  # ANALYZE, say
        return str(plan).count("'ModifyTable'")

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
        server = Server(connection)
        server.rows("SET client_min_messages = notice")
        yield server
    databases.drop(name)


@pytest.mark.parametrize("query", STATEMENTS)
def test_a_statement_says_that_it_reads_if_it_leaves_nothing(server: Server, query: Query) -> None:
    assert query.reads is not server.leaves_something(query)


@pytest.mark.parametrize("query", STATEMENTS)
def test_a_statement_says_what_it_fires(server: Server, query: Query) -> None:
    assert set(query.fires) == server.fired_by(query)
    assert list(query.fires) == sorted(set(query.fires))


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
        ("SELECT make_partitions('ledger', 2)", True),
        ("SELECT pg_notify('sbm_work', '') FROM schedules", True),
        ("SELECT owe_scheduler_call('schedule', id::text) FROM schedules", True),
        ("ANALYZE schedules", True),
    ],
)
def test_what_leaves_something_is_found(server: Server, sql: str, leaves_something: bool) -> None:
    assert server.leaves_something(a_query(sql)) is leaves_something


@pytest.mark.parametrize(
    ("sql", "fires"),
    [
        ("SELECT FROM schedules FOR UPDATE", set()),
        ("UPDATE subscriptions SET lang = 'eng'", set()),
        ("UPDATE subscriptions SET active = true WHERE false", {"owe_scheduler_call_of_changed"}),
        ("DELETE FROM schedules", {"owe_scheduler_call_of_gone_or_new"}),
        ("DELETE FROM messagesets", {"messages_deleted"}),
        ("SELECT owe_scheduler_call('schedule', id::text) FROM schedules", {"date_moments"}),
        (
            "WITH one AS (INSERT INTO messages SELECT FROM schedules) SELECT 1",
            {"messages_inserted"},
        ),
    ],
)
def test_what_fires_is_found(server: Server, sql: str, fires: set[str]) -> None:
    assert server.fired_by(a_query(sql)) >= fires


def test_no_key_is_changed_in_another_table(server: Server) -> None:
    """Or else an update, too, would reach the triggers of others."""
    assert (
        server.rows("SELECT conname FROM pg_constraint WHERE confupdtype NOT IN ('a', ' ')") == []
    )


def test_our_own_functions_that_write_are_known(server: Server) -> None:
    found = server.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND provolatile = 'v' AND prorettype <> 'trigger'::regtype"
    )
    assert {name for (name,) in found} == set(CALLS)
