"""Putting a database into the state that a test starts from, and looking at the one it ends in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, RealDictCursor, register_uuid
from psycopg2.sql import Composable

register_uuid()


class Arranged:
    """One database, read and written behind the daemon's back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, statement: str | Composable, *values: Any) -> list[dict[str, Any]]:
        """The rows of a statement; each is committed by itself."""
        with self._connection.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(statement, values or None)  # without values, % is just a sign
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def value(self, statement: str, *values: Any) -> Any:
        """The first column of the first row."""
        (row, *_) = self.rows(statement, *values)
        return next(iter(row.values()))

    def schedule(self, **fields: str) -> int:
        names = ", ".join(fields) or "minute"
        marks = ", ".join(["%s"] * len(fields)) or "'*'"
        statement = f"INSERT INTO schedules ({names}) VALUES ({marks}) RETURNING id"  # noqa: S608
        return int(self.value(statement, *fields.values()))

    def messageset(
        self,
        name: str,
        schedule: int,
        *,
        messages: int | list[int] = 3,
        next_set: int | None = None,
        langs: tuple[str, ...] = ("eng_ZA",),
        content_type: str = "text",
        channel: str | None = None,
    ) -> int:
        """A message set with messages that say its name, their number and their language."""
        messageset = self.value(
            "INSERT INTO messagesets (short_name, content_type, channel, next_set_id,"
            " default_schedule_id) VALUES (%s, %s, %s, %s, %s) RETURNING id",
            *(name, content_type, channel, next_set, schedule),
        )
        numbers = range(1, messages + 1) if isinstance(messages, int) else messages
        for lang in langs:
            for number in numbers:
                self.message(messageset, number, lang, f"{name} {number} {lang}")
        return int(messageset)

    def message(
        self,
        messageset: int,
        number: int,
        lang: str,
        text: str | None,
        *,
        file_name: str | None = None,
        metadata: Any = None,
    ) -> int:
        binary_content = None
        if file_name is not None:
            binary_content = self.value(
                "INSERT INTO binary_contents (content) VALUES (%s) RETURNING id", file_name
            )
        return int(
            self.value(
                "INSERT INTO messages (messageset_id, sequence_number, lang, text_content,"
                " binary_content_id, metadata) VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
                *(messageset, number, lang, text, binary_content, Json(metadata or {})),
            )
        )

    def subscriptions(
        self,
        count: int,
        messageset: int,
        schedule: int,
        *,
        lang: str = "eng_ZA",
        metadata: Any = None,
        next_sequence_number: int = 1,
    ) -> list[UUID]:
        """So many subscriptions, each of an identity of its own."""
        rows = self.rows(
            "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang, metadata,"
            " next_sequence_number) SELECT gen_random_uuid(), %s, %s, %s, %s, %s"
            " FROM generate_series(1, %s) RETURNING id",
            *(messageset, schedule, lang, None if metadata is None else Json(metadata)),
            *(next_sequence_number, count),
        )
        return [row["id"] for row in rows]

    def subscription(self, subscription_id: UUID) -> dict[str, Any]:
        (row,) = self.rows("SELECT * FROM subscriptions WHERE id = %s", subscription_id)
        return row

    def failures(
        self,
        subscription_ids: list[UUID],
        *,
        kind: str = "next",
        stage: str = "post",
        reason: str = "400: no such channel",
        initiated_at: str = "2026-01-01T00:00:00Z",
    ) -> list[int]:
        """A failed task of each of these subscriptions; the ids, in the same order."""
        rows = self.rows(
            "INSERT INTO failed_tasks (send_id, kind, stage, reason, subscription_id, identity,"
            " initiated_at, attempt, first_attempt_at, messageset_id, next_sequence_number,"
            " sequence_number, lang)"
            " SELECT gen_random_uuid(), %s, %s, %s, s.id, s.identity, moment, 1, moment,"
            " s.messageset_id, s.next_sequence_number, s.next_sequence_number, s.lang"
            " FROM unnest(%s::uuid[]) WITH ORDINALITY AS given (id, number)"
            " JOIN subscriptions s ON s.id = given.id, (SELECT %s::timestamptz AS moment) AS first"
            " ORDER BY number RETURNING id",
            *(kind, stage, reason, subscription_ids, initiated_at),
        )
        return [row["id"] for row in rows]

    def ledger(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM ledger ORDER BY id")

    def unbalanced_ticks(self) -> list[dict[str, Any]]:
        """Ticks whose triggers are not all accounted for."""
        return self.rows(
            "SELECT ticks.id, triggers, live.count AS live, done.count AS done FROM ticks,"
            " LATERAL (SELECT count(*) FROM sends WHERE tick_id = ticks.id) live,"
            " LATERAL (SELECT count(*) FROM ledger WHERE tick_id = ticks.id) done"
            " WHERE triggers <> live.count + done.count + skipped_again"
        )


@contextmanager
def arranged(uri: str) -> Iterator[Arranged]:
    """A connection in autocommit to the database at ``uri``."""
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    try:
        yield Arranged(connection)
    finally:
        connection.close()
