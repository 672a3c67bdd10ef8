"""The database into which the old service's data are imported, in one transaction.

The old tables are copied into temporary tables of the same names, so that the statement that reads
a table in the old database reads its copy here. Checksums then account for every row of the old
database: either the row that the statement reads there is here, or its copy was noted as left
behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
from attrs import define
from psycopg2.errors import LockNotAvailable
from psycopg2.extras import Json, RealDictCursor
from psycopg2.sql import SQL, Composable, Identifier, Literal

from sbm.model.old_cron import FIELDS, mended
from sbm.model.signature import Signature
from sbm.store.audit import QUERIES as AUDIT
from sbm.store.django.report import ImportFailed, Note, OldFile, Sums, TableCounts
from sbm.store.django.source import QUERIES, Columns, RowCounter, SourceDatabase, read_sums
from sbm.store.postgres import migrations, synchronous
from sbm.store.postgres.errors import DatabaseUnavailable, one_line
from sbm.store.postgres.statements import Queries, load
from sbm.store.schedules import QUERIES as SCHEDULES
from sbm.store.schedules import ToldSchedule

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

# In the order in which they can be taken over: a table comes after those that it refers to.
NOUNS = (
    "users",
    "permissions",
    "tokens",
    "schedules",
    "messagesets",
    "binary_contents",
    "messages",
    "subscriptions",
    "failed_tasks",
    "resend_requests",
    "estimated_sends",
    "behind_subscriptions",
)
STATEMENTS: dict[str, Queries] = {noun: load(noun, folder="django") for noun in NOUNS}

# The new table of each old table that has times.
_TAKEN_AS = {
    "auth_user": "users",
    "authtoken_token": "tokens",
    "contentstore_messageset": "messagesets",
    "contentstore_binarycontent": "binary_contents",
    "contentstore_message": "messages",
    "subscriptions_subscription": "subscriptions",
    "subscriptions_subscriptionsendfailure": "failed_tasks",
    "subscriptions_resendrequest": "resend_requests",
    "subscriptions_behindsubscription": "behind_subscriptions",
}

# Tables that do not have the name of their noun, and those that number their own rows.
_TABLES = {"permissions": "user_permissions"}
_NUMBERED = tuple(noun for noun in NOUNS if noun not in ("permissions", "tokens", "subscriptions"))

_AT_ONCE = 1000


@define(eq=False, kw_only=True)
class TargetDatabase:
    """An open transaction in the database that is filled."""

    connection: Connection

    def prepare(self) -> Columns:
        """Check that the database is empty, and make tables for the copies; returns these."""
        self._lock()
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_filled.sql)
            filled = [noun for (noun,) in cursor.fetchall()]
        if filled:
            raise ImportFailed(
                f"the database is not empty: it has {', '.join(filled)}. Data can be imported into"
                " a new one only, made by `sbm migrate`"
            )
        self._run(QUERIES.make_notes.sql)
        for statements in STATEMENTS.values():
            self._run(statements.stage.sql)
        return self._staged()

    def copy(self, source: SourceDatabase, relation: str, advance: RowCounter) -> int:
        """Copy one table of the old database; returns how many rows were copied."""
        with self.connection.cursor() as cursor:
            copied = source.copy_to(cursor, relation, advance)
            cursor.execute(SQL("ANALYZE pg_temp.{}").format(Identifier(relation)))
        return copied

    def note_odd_time(self, relation: str, row_id: str, was: dict[str, str]) -> None:
        """Note that a row gets another time than it had, because that cannot be represented."""
        values = {"noun": _TAKEN_AS[relation], "id": row_id, "was": Json(was)}
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.note_odd_time.sql, values)

    def set_aside(self) -> None:
        """Free the ids of the operator's own users for imported users, until ``finish``."""
        self._run(QUERIES.set_aside.sql)

    def take(self, noun: str) -> None:
        """Take over one table from its copies; note the rows that are changed or left behind."""
        statements = STATEMENTS[noun]
        view = SQL("CREATE TEMPORARY VIEW {} AS {}")
        self._run(view.format(Identifier(f"old_{noun}"), SQL(statements.read.sql)))
        self._run(statements.note.sql)
        if noun == "schedules":
            self._mend_schedules(statements)
        with self._indexed_afterwards(noun):
            self._run(statements.take.sql)
        if noun == "schedules":
            self._run(statements.take_remote.sql)
        self._run(SQL("ANALYZE {}").format(_table(noun)))

    def counts(self, noun: str, there: Sums) -> TableCounts:
        """Account for every row of a table, or raise ImportFailed.

        ``there`` are the sums over all rows of the old database, as they are read.
        """
        read = SQL("SELECT * FROM {}").format(Identifier(f"old_{noun}"))
        apart = self._sums(read, QUERIES.are_apart.sql, noun)
        taken = self._sums(SQL(STATEMENTS[noun].ours.sql), QUERIES.are_taken.sql, noun)
        if taken + apart != there:
            raise ImportFailed(
                f"{noun}: the checksums differ. There: {there.count} rows, {there.checksum}."
                f" Here: {taken.count} rows, and {apart.count} that were left behind,"
                f" {(taken + apart).checksum}. Nothing was imported"
            )
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.count_notes.sql, {"noun": noun})
            left_behind, changed = cursor.fetchone() or (0, 0)
            cursor.execute(SQL("SELECT count(*) FROM {}").format(_table(noun)))
            (here,) = cursor.fetchone() or (0,)
        if here + left_behind != there.count:
            raise ImportFailed(
                f"{noun}: of {there.count} rows {here} are here, and {left_behind} were left"
                " behind. Nothing was imported"
            )
        return TableCounts(
            table=noun,
            read=there.count,
            taken=here,
            changed=changed,
            left_behind=left_behind,
            checksum=taken.checksum,
        )

    def finish(self) -> tuple[str, ...]:
        """Let new rows get ids after the imported ones, and restore the operator's own users.

        Returns the names of those that were merged with an imported user.
        """
        with self.connection.cursor() as cursor:
            for noun in _NUMBERED:
                cursor.execute(SQL(QUERIES.find_next_id.sql).format(table=_table(noun)))
                (following,) = cursor.fetchone() or (1,)
                restart = SQL("ALTER TABLE {} ALTER COLUMN id RESTART WITH {}")
                cursor.execute(restart.format(_table(noun), Literal(following)))
            cursor.execute(QUERIES.find_merged.sql)
            merged = tuple(name for (name,) in cursor.fetchall())
            cursor.execute(QUERIES.give_back.sql)
        return merged

    def count_called(self) -> int:
        """For how many schedules the Scheduler calls."""
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.count_called.sql)
            (count,) = cursor.fetchone() or (0,)
            return int(count)

    def list_told(self) -> list[ToldSchedule]:
        """The schedules, and their crons as the Scheduler gets them."""
        with self.connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(SCHEDULES.list_told.sql)
            return [ToldSchedule(**row) for row in cursor.fetchall()]

    def sign(
        self, signature: Signature, *, counts_by_table: list[TableCounts], ended: int, gone_on: int
    ) -> None:
        """Record the import in the audit."""
        details = {one.table: {"read": one.read, "taken": one.taken} for one in counts_by_table}
        details["beyond_the_end"] = {"found": ended, "gone_on": gone_on}
        values = {
            "actor": signature.actor,
            "action": "import-django",
            "reason": signature.reason,
            "details": Json(details),
        }
        with self.connection.cursor() as cursor:
            cursor.execute(AUDIT.insert_entry.sql, values)

    def notes(self) -> Iterator[Note]:
        """The notes about single rows, a few at a time."""
        with self.connection.cursor("notes") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(QUERIES.list_notes.sql)
            for noun, row_id, fate, reason, was in cursor:
                yield Note(table=noun, id=row_id, fate=fate, reason=reason, was=was)

    def files(self) -> Iterator[OldFile]:
        """The files of the messages that were taken over, a few at a time."""
        with self.connection.cursor("files") as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(QUERIES.list_files.sql)
            for number, old_name, name in cursor:
                yield OldFile(id=number, old_name=old_name, name=name)

    def commit(self) -> None:
        """Commit the import."""
        self.connection.commit()

    def _mend_schedules(self, statements: Queries) -> None:
        """Store other fields for schedules whose fields are not a valid cron, and note why."""
        with self.connection.cursor("schedules") as listed, self.connection.cursor() as cursor:
            listed.itersize = _AT_ONCE
            listed.execute(statements.list_read.sql)
            for schedule_id, *texts in listed:
                found = mended(dict(zip(FIELDS, texts, strict=True)))
                if found is not None:
                    fields, reason = found
                    cursor.execute(statements.mend.sql, fields | {"id": schedule_id})
                    noted = {"id": schedule_id, "reason": reason}
                    cursor.execute(statements.note_mended.sql, noted)

    def _lock(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.set_reading.sql)
        try:
            self._run(QUERIES.lock_target.sql)
        except LockNotAvailable:
            raise ImportFailed(
                "another session uses the database: stop the daemons first"
            ) from None

    @contextmanager
    def _indexed_afterwards(self, noun: str) -> Iterator[None]:
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_indexes.sql, {"table": _TABLES.get(noun, noun)})
            indexes = cursor.fetchall()
            for name, _ in indexes:
                cursor.execute(SQL("DROP INDEX {}").format(SQL(name)))
            yield
            for _, statement in indexes:
                cursor.execute(statement)

    def _staged(self) -> Columns:
        columns: dict[str, dict[str, str]] = {}
        with self.connection.cursor() as cursor:
            cursor.execute(QUERIES.find_staged.sql)
            for relation, name, kind in cursor.fetchall():
                columns.setdefault(relation, {})[name] = kind
        return columns

    def _sums(self, rows: Composable, where: str, noun: str) -> Sums:
        statement = SQL(QUERIES.sum_rows.sql).format(
            rows=rows, where=SQL(where).format(noun=Literal(noun))
        )
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return read_sums(cursor)

    def _run(self, statement: str | Composable) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)


def _table(noun: str) -> Identifier:
    return Identifier(_TABLES.get(noun, noun))


@contextmanager
def opened(uri: str) -> Iterator[TargetDatabase]:
    """The database at this libpq ``uri``; nothing is changed unless ``commit`` is called.

    Raises ImportFailed if the schema is not the one of this release, and for all errors in this
    database or in the old one.
    """
    try:
        if problem := migrations.check(uri):
            raise ImportFailed(problem)
        with synchronous.opened(uri) as connection:
            connection.autocommit = False
            yield TargetDatabase(connection=connection)
    except (psycopg2.Error, DatabaseUnavailable) as error:
        raise ImportFailed(f"{one_line(error)}: nothing was imported") from error
