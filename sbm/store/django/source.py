"""The old service's database: it is read in one snapshot, and never written.

Its PostgreSQL may be as old as 9.6, and its release as old as 0.10. If an older release lacks
columns, each statement gets a ``WITH`` that hides the table by one with these columns. If a table
has times that Python cannot represent, they are replaced in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any

from attrs import define, field
from psycopg2.sql import SQL, Composable, Composed, Identifier, Literal

from sbm.store.django.report import ImportFailed, OldService, Sums
from sbm.store.postgres.statements import load
from sbm.store.postgres.synchronous import connected

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

QUERIES = load("whole", folder="django")

# A function that is called with how many more rows were read.
RowCounter = Callable[[int], object]

# The columns of a table, in order, and their types; by table.
Columns = Mapping[str, Mapping[str, str]]

# Columns of later releases, and their values for a release that lacks them.
_LATER = {
    ("contentstore_schedule", "scheduler_schedule_id"): "NULL::uuid",
    ("contentstore_messageset", "channel"): "NULL::varchar",
    ("contentstore_messageset", "label"): "''::varchar",
    ("contentstore_message", "metadata"): "'{}'::jsonb",
    ("subscriptions_subscription", "initial_sequence_number"): "1",
}

# The times that Python can represent in any time zone. PostgreSQL has others, and infinity.
_EARLIEST, _LATEST = "0001-01-02Z", "9999-12-30Z"
_TIME = "timestamp with time zone"

# A database without these tables is not one of the old service. If another table is missing, it is
# read as empty.
_NEEDED = frozenset(
    {
        "auth_user",
        "authtoken_token",
        "contentstore_binarycontent",
        "contentstore_message",
        "contentstore_messageset",
        "contentstore_schedule",
        "subscriptions_subscription",
    }
)

# The last migration of contentstore in each release, newest first.
_RELEASES = (("0011", "0.12.1 or newer"), ("0009", "0.10.1"), ("0008", "0.10.0"))


@define(eq=False, kw_only=True)
class SourceDatabase:
    """An open snapshot of the old database."""

    connection: Connection
    columns: Columns = field(factory=dict)
    prefix: Composable = field(factory=lambda: SQL(""))
    odd_times: dict[str, list[str]] = field(factory=dict, init=False)

    def look(self, columns: Columns) -> OldService:
        """Find out which tables and columns exist; raises ImportFailed if too few do."""
        self.columns = columns
        hidden, missing = [], []
        for relation, types in columns.items():
            found = self._found(relation)
            lacking = [name for name in types if name not in found]
            if not found and relation not in _NEEDED:
                hidden.append(_empty(relation, types))
                missing.append(relation)
                continue
            if unknown := [name for name in lacking if (relation, name) not in _LATER]:
                raise ImportFailed(
                    f"this is not a database of the old service: it has no {relation}"
                    + (f" with {', '.join(unknown)}" if found else "")
                )
            odd = self._odd_times(relation, [name for name in _times(types) if name in found])
            if lacking or odd:
                hidden.append(_mended(relation, types, lacking, odd))
        if hidden:
            self.prefix = SQL("WITH {} ").format(SQL(", ").join(hidden))
        return OldService(
            release=self._release(), domain=self._domain(), missing=tuple(sorted(missing))
        )

    def count(self, relation: str) -> int:
        """How many rows a table has."""
        statement = SQL("{}SELECT count(*) FROM {}").format(self.prefix, Identifier(relation))
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            (count,) = cursor.fetchone() or (0,)
            return int(count)

    def sums(self, rows: str) -> Sums:
        """The checksum over the rows that a statement reads."""
        statement = SQL(QUERIES.sum_rows.sql).format(rows=SQL(rows), where=SQL(""))
        with self.connection.cursor() as cursor:
            cursor.execute(self.prefix + statement)
            return read_sums(cursor)

    def copy_to(self, target: Cursor, relation: str, advance: RowCounter) -> int:
        """Stream a table into its copy of the same name; returns how many rows were copied."""
        columns = SQL(", ").join(map(Identifier, self.columns[relation]))
        out = SQL("COPY ({}SELECT {} FROM {}) TO STDOUT").format(
            self.prefix, columns, Identifier(relation)
        )
        into = SQL("COPY pg_temp.{} ({}) FROM STDIN").format(Identifier(relation), columns)
        with self.connection.cursor() as cursor:
            return _stream(cursor, out, target, into, advance)

    def list_odd_times(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Table and id of each row with times that Python cannot represent, and those times."""
        for relation, odd in self.odd_times.items():
            key = "id" if "id" in self.columns[relation] else "user_id"
            for name in odd:
                statement = SQL("SELECT {0}::text, {1}::text FROM {2} WHERE {3}").format(
                    Identifier(key), Identifier(name), Identifier(relation), _is_odd(name)
                )
                with self.connection.cursor() as cursor:
                    cursor.execute(statement)
                    for row_id, was in cursor:
                        yield relation, row_id, {name: was}

    def _odd_times(self, relation: str, names: list[str]) -> list[str]:
        """Which of these columns have times that Python cannot represent."""
        if not names:
            return []
        tests = [SQL("COALESCE(bool_or({}), false)").format(_is_odd(name)) for name in names]
        statement = SQL("SELECT {} FROM {}").format(SQL(", ").join(tests), Identifier(relation))
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            found = cursor.fetchone() or ()
        odd = [name for name, is_odd in zip(names, found, strict=True) if is_odd]
        if odd:
            self.odd_times[relation] = odd
        return odd

    def _found(self, relation: str) -> set[str]:
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_columns.sql, {"relation": relation})
            return {name for (name,) in cursor.fetchall()}

    def _release(self) -> str:
        if not self._found("django_migrations"):
            return "unknown"
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_release.sql)
            numbers = {name[:4] for (name,) in cursor.fetchall()}
        return next((told for number, told in _RELEASES if number in numbers), "older than 0.10")

    def _domain(self) -> str | None:
        if not self._found("django_site"):
            return None
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_domain.sql)
            row = cursor.fetchone()
            return str(row[0]) if row else None


@contextmanager
def opened(uri: str) -> Iterator[SourceDatabase]:
    """A snapshot of the old database at this libpq ``uri``, open as long as the block lasts."""
    with closing(connected(uri)) as connection:
        connection.autocommit = False
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(QUERIES.set_reading.sql)
        yield SourceDatabase(connection=connection)


def read_sums(cursor: Cursor) -> Sums:
    """The answer to ``sum_rows``."""
    count, high, low = cursor.fetchone() or (0, 0, 0)
    return Sums(count=int(count), high=int(high), low=int(low))


def _times(types: Mapping[str, str]) -> list[str]:
    """The columns of type timestamp."""
    return [name for name, kind in types.items() if kind == _TIME]


def _is_odd(name: str) -> Composed:
    return SQL("{} NOT BETWEEN {} AND {}").format(
        Identifier(name), Literal(_EARLIEST), Literal(_LATEST)
    )


def _mended(
    relation: str, types: Mapping[str, str], lacking: list[str], odd: list[str]
) -> Composed:
    """The table with the columns of later releases, and with times that Python can represent."""

    def column(name: str) -> Composable:
        if name in lacking:
            return SQL("{} AS {}").format(SQL(_LATER[relation, name]), Identifier(name))
        if name in odd:
            return SQL("GREATEST({1}, LEAST({2}, {0})) AS {0}").format(
                Identifier(name), Literal(_EARLIEST), Literal(_LATEST)
            )
        return Identifier(name)

    return SQL("{0} AS (SELECT {1} FROM {0})").format(
        Identifier(relation), SQL(", ").join(map(column, types))
    )


def _empty(relation: str, types: Mapping[str, str]) -> Composed:
    columns = [
        SQL("NULL::{} AS {}").format(SQL(kind), Identifier(name)) for name, kind in types.items()
    ]
    return SQL("{} AS (SELECT {} WHERE false)").format(
        Identifier(relation), SQL(", ").join(columns)
    )


class _Counted:
    """A file that counts the rows that were read: in COPY's text, each is a line."""

    def __init__(self, file: IO[bytes], advance: RowCounter) -> None:
        self._file, self._advance = file, advance
        self.rows = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        rows = piece.count(b"\n")
        self.rows += rows
        self._advance(rows)
        return piece


def _stream(
    source: Cursor, out: Composable, target: Cursor, into: Composable, advance: RowCounter
) -> int:
    """Copy from one database to the other through a pipe, so that little is held in memory."""
    reading, writing = os.pipe()

    def send() -> None:
        with open(writing, "wb") as pipe:
            source.copy_expert(out, pipe)

    with ThreadPoolExecutor(1) as threads, open(reading, "rb") as pipe:
        sent = threads.submit(send)
        counted: Any = _Counted(pipe, advance)
        try:
            target.copy_expert(into, counted, 2**16)
        finally:
            pipe.close()  # then the sender gets an error, and ends
        sent.result()
        return int(counted.rows)
