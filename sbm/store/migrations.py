"""Migrations: plain SQL files, applied in order, forward only.

Applying is the operators' doing (``sbm migrate``), never the daemon's, and so it is synchronous.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from attrs import frozen

from sbm.store.errors import DatabaseUnavailable, MigrationFailed, one_line
from sbm.store.queries import sql_directory

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

# The files take the same lock, so a migration by hand and one by command wait for each other.
_LOCK = (736266, 1)

OLDEST_SERVER = 140000
CONNECT_SECONDS = 5


@frozen(kw_only=True)
class MigrationStatus:
    """Which migrations a database has, and which it lacks; names without ``.sql``, in order."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


def names() -> tuple[str, ...]:
    """The migrations of this release, in order."""
    return tuple(path.stem for path in _files())


def complaint(found: set[str], server_version: int) -> str | None:
    """Why this release cannot work on a schema that these migrations made, if it cannot.

    ``server_version`` is libpq's: 150004 is PostgreSQL 15.4.
    """
    expected = set(names())
    if server_version < OLDEST_SERVER:
        return (
            f"PostgreSQL {OLDEST_SERVER // 10000} or newer is needed,"
            f" and the server is {server_version // 10000}"
        )
    if missing := sorted(expected - found):
        return f"the schema lacks {', '.join(missing)}: run `sbm migrate`"
    if unknown := sorted(found - expected):
        return f"the schema is of a newer release: it has {', '.join(unknown)}"
    return None


def check(uri: str) -> str | None:
    """The ``complaint`` about the database at this libpq ``uri``; raises DatabaseUnavailable."""
    with _session(uri) as connection:
        return complaint(_found(connection), connection.server_version)


def status(uri: str) -> MigrationStatus:
    """Compare the database at this libpq ``uri`` with the migrations of this release."""
    with _session(uri) as connection:
        return _status(connection)


def migrate(uri: str) -> tuple[str, ...]:
    """Apply what the database at this libpq ``uri`` lacks, each file in its own transaction.

    Returns the names applied, in order. Raises MigrationFailed, or DatabaseUnavailable.
    """
    with _session(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", _LOCK)
        pending = set(_status(connection).pending)
        applied = []
        for path in _files():
            if path.stem in pending:
                _apply(connection, path)
                applied.append(path.stem)
        return tuple(applied)


def _apply(connection: Connection, path: Path) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(path.read_text(encoding="utf-8"))
        except psycopg2.Error as error:
            if not connection.closed:
                cursor.execute("ROLLBACK")
            raise MigrationFailed(f"{path.name}: {one_line(error)}") from error


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


@contextmanager
def _session(uri: str) -> Iterator[Connection]:
    """A connection in autocommit: the files bring their own BEGIN and COMMIT."""
    try:
        with closing(psycopg2.connect(uri, connect_timeout=CONNECT_SECONDS)) as connection:
            connection.autocommit = True
            yield connection
    except psycopg2.Error as error:
        raise DatabaseUnavailable(one_line(error)) from error
