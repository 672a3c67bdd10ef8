"""What of the imported data cannot be sent, and who has nothing left to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attrs import frozen
from psycopg2.extras import RealDictCursor

from sbm.model.content_rules import Medium, Placed
from sbm.store.django.source import QUERIES
from sbm.store.messages import placed
from sbm.store.postgres.statements import Query

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

_AT_ONCE = 1000


@frozen(kw_only=True)
class Waiting:
    """A prepend that waits for the next message of a subscription.

    ``prepend`` is None if it is not a text; ``text`` is that of the message, None if there is none.
    """

    id: UUID
    prepend: str | None
    medium: Medium
    text: str | None


@frozen(kw_only=True)
class Ended:
    """A subscription that stands beyond the end of its content.

    ``following`` is the short name of the next set, if there is one, and ``successor`` the
    subscription to it that was made.
    """

    id: UUID
    messageset: str
    lang: str
    next_sequence_number: int
    is_in_error: bool
    following: str | None
    successor: UUID | None


def list_contents(connection: Connection) -> Iterator[Placed]:
    """What every message carries, a few at a time."""
    for row in _rows(connection, QUERIES.list_contents):
        yield placed(**row)


def list_waiting(connection: Connection) -> Iterator[Waiting]:
    """The prepends that wait for the next message of those under way, a few at a time."""
    for row in _rows(connection, QUERIES.list_waiting_prepends):
        yield Waiting(
            id=row["id"],
            prepend=row["prepend"],
            medium=Medium(content_type=row["content_type"], channel=row["channel"]),
            text=row["text"],
        )


def find_ended(connection: Connection, *, go_on: bool) -> tuple[int, int]:
    """Find those beyond the end of their content, and have them ``go_on`` if that is wanted.

    Returns how many there are, and how many have gone on.
    """
    with connection.cursor() as cursor:
        cursor.execute(QUERIES.find_ended.sql)
        found = cursor.rowcount
        if not go_on:
            return found, 0
        cursor.execute(QUERIES.go_on.sql)
        return found, cursor.rowcount


def list_ended(connection: Connection) -> Iterator[Ended]:
    """Those that ``find_ended`` has found, a few at a time."""
    for row in _rows(connection, QUERIES.list_ended):
        yield Ended(**row)


def _rows(connection: Connection, query: Query) -> Iterator[dict[str, Any]]:
    with connection.cursor(query.name, cursor_factory=RealDictCursor) as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(query.sql)
        for row in cursor:
            yield dict(row)
