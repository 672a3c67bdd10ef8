"""Migrations: plain SQL files, applied in order, forward only.

Only operators apply them (``sbm migrate``), never the daemon, so this code is synchronous.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from attrs import frozen
from psycopg2.sql import SQL, Identifier

from sbm.store.postgres import session
from sbm.store.postgres.errors import MigrationFailed, one_line
from sbm.store.postgres.lock_watcher import LockWatcher
from sbm.store.postgres.statements import sql_directory
from sbm.store.postgres.synchronous import opened

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

# The files take the same lock, so a migration by hand and one by command wait for each other.
_LOCK = (736266, 1)

# How long a migration waits for a lock on a table. Statements that come after it wait as long, and
# those of daemons give up after three seconds. After this time, they can go on.
LOCK_SECONDS = 2.0
PAUSE_SECONDS = 2.0

# The schema to begin in, if the search path has none.
_FIND_PLACE = """
    SELECT set_config('search_path', 'public', false) FROM pg_catalog.pg_namespace
     WHERE nspname = 'public' AND current_schema() IS NULL
"""

# Partitions that the owner of the table may not alter, and their owners.
_LIST_FOREIGN_PARTITIONS = """
    SELECT child.relname, pg_get_userbyid(child.relowner), pg_get_userbyid(parent.relowner)
      FROM pg_inherits
      JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent
     WHERE inhparent IN (to_regclass('ledger'), to_regclass('audit'), to_regclass('deliveries'),
                         to_regclass('intake'))
       AND child.relowner <> parent.relowner
     ORDER BY child.relname
"""

Report = Callable[[str], object]


@frozen(kw_only=True)
class MigrationStatus:
    """Which migrations a database has, and which it lacks; names without ``.sql``, in order."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


def names() -> tuple[str, ...]:
    """The migrations of this release, in order."""
    return tuple(path.stem for path in _files())


def problem(found: set[str], server_version: int) -> str | None:
    """Why this release cannot use a schema that these migrations made, if it cannot.

    ``server_version`` is libpq's: 150004 is PostgreSQL 15.4.
    """
    if old := session.version_problem(server_version):
        return old
    expected = set(names())
    if missing := sorted(expected - found):
        return f"the schema lacks {', '.join(missing)}: run `sbm migrate`"
    if unknown := sorted(found - expected):
        return _newer(unknown)
    return None


def check(uri: str) -> str | None:
    """The ``problem`` about the database at this libpq ``uri``; raises DatabaseUnavailable."""
    with opened(uri) as connection:
        return problem(_found(connection), connection.server_version)


def status(uri: str) -> MigrationStatus:
    """Compare the database at this libpq ``uri`` with the migrations of this release."""
    with opened(uri) as connection:
        return _status(connection)


def migrate(
    uri: str, *, tell: Report = lambda _: None, pause: Callable[[float], object] = time.sleep
) -> tuple[str, ...]:
    """Apply the missing migrations to the database at this libpq ``uri``, each in a transaction.

    Returns the names of those that were applied, in order. If a migration does not get a lock
    within LOCK_SECONDS, ``tell`` is called with a text that names the holder, and the migration is
    tried again after a pause. Raises MigrationFailed, or DatabaseUnavailable.
    """
    with opened(uri) as connection, LockWatcher(uri, _pid(connection)) as lock_watcher:
        migration = _Migration(
            connection=connection, lock_watcher=lock_watcher, tell=tell, pause=pause
        )
        return migration.run()


@frozen(kw_only=True)
class _Migration:
    connection: Connection
    lock_watcher: LockWatcher
    tell: Report
    pause: Callable[[float], object]

    def run(self) -> tuple[str, ...]:
        with self.connection.cursor() as cursor:
            cursor.execute(_FIND_PLACE)
            cursor.execute("SET lock_timeout = %s", (f"{1000 * LOCK_SECONDS:.0f}ms",))
        self._patiently("the lock of migrations", "SELECT pg_advisory_lock(%s, %s)", _LOCK)
        status = _status(self.connection)
        if status.unknown:
            raise MigrationFailed(
                f"{_newer(status.unknown)}: nothing was applied. Use `sbm migrate` of that release"
            )
        self._own_partitions()
        for name in status.pending:
            path = sql_directory() / "migrations" / f"{name}.sql"
            try:
                self._patiently(path.name, path.read_text(encoding="utf-8"))
            except psycopg2.Error as error:
                raise MigrationFailed(f"{path.name}: {one_line(error)}") from error
        return status.pending

    def _own_partitions(self) -> None:
        """Give the ledger's partitions to its owner, or say which cannot be given."""
        with self.connection.cursor() as cursor:
            cursor.execute(_LIST_FOREIGN_PARTITIONS)
            foreign = cursor.fetchall()
        problems = []
        for name, owner, wanted in foreign:
            change = SQL("ALTER TABLE {} OWNER TO {}").format(Identifier(name), Identifier(wanted))
            statement = change.as_string(self.connection)
            try:
                self._patiently(name, statement)
            except psycopg2.errors.InsufficientPrivilege:
                problems.append(f"{name} belongs to {owner}: {statement}")
        if problems:
            raise MigrationFailed(
                "partitions of the ledger do not belong to its owner, and this user may not change"
                f" that. As their owner, or as a superuser, run: {'; '.join(problems)}"
            )

    def _patiently(self, what: str, statement: str, values: tuple[int, ...] | None = None) -> None:
        """Execute a statement, or a file; repeat it until it gets its locks."""
        while True:
            self.lock_watcher.forget()
            with self.connection.cursor() as cursor:
                try:
                    cursor.execute(statement, values)
                    return
                except psycopg2.errors.LockNotAvailable:
                    self._roll_back()
                except psycopg2.Error:
                    self._roll_back()
                    raise
            self.tell(f"{what} waits for {self.lock_watcher.blockers()}; it will be tried again")
            self.pause(PAUSE_SECONDS)

    def _roll_back(self) -> None:
        if not self.connection.closed:
            with self.connection.cursor() as cursor:
                cursor.execute("ROLLBACK")


def _pid(connection: Connection) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone() or (0,)
        return int(pid)


def _newer(unknown: Iterable[str]) -> str:
    return f"the schema is of a newer release: it has {', '.join(unknown)}"


def _files() -> list[Path]:
    return sorted((sql_directory() / "migrations").glob("*.sql"))


def _status(connection: Connection) -> MigrationStatus:
    expected, found = names(), _found(connection)
    return MigrationStatus(
        applied=tuple(name for name in expected if name in found),
        pending=tuple(name for name in expected if name not in found),
        unknown=tuple(sorted(found - set(expected))),
    )


def _found(connection: Connection) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
        (exists,) = cursor.fetchone() or (False,)
        if not exists:
            return set()
        cursor.execute("SELECT name FROM schema_migrations")
        return {name for (name,) in cursor.fetchall()}
