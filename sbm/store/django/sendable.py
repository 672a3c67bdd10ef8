"""Finds imported rows that are not as they should be.

That is content that cannot be sent, subscriptions beyond the end of their content, and metadata
that are too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attrs import frozen
from psycopg2.extras import RealDictCursor

from sbm.model.content_rules import Medium, PlacedContent
from sbm.model.metadata import MAX_METADATA_VALUES
from sbm.store.django.source import QUERIES
from sbm.store.messages import placed
from sbm.store.postgres.statements import Query

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812

_AT_ONCE = 1000


@frozen(kw_only=True)
class WaitingPrepend:
    """A prepend that waits for the next message of a subscription.

    ``prepend`` is None if it is not a text; ``text`` is that of the message, None if there is none.
    """

    id: UUID
    prepend: str | None
    medium: Medium
    text: str | None


@frozen(kw_only=True)
class EndedSubscription:
    """A subscription whose next number is beyond the end of its content.

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


@frozen(kw_only=True)
class LargeMetadata:
    """Metadata of a row of a table: how many bytes they are, and how many values are in them.

    The values of small metadata are not counted: 0.
    """

    table_name: str
    id: str
    bytes: int
    value_count: int


def list_contents(connection: Connection) -> Iterator[PlacedContent]:
    """The contents of all messages, a few at a time."""
    for row in _rows(connection, QUERIES.list_contents):
        yield placed(**row)


def list_waiting(connection: Connection) -> Iterator[WaitingPrepend]:
    """The prepends that wait, of subscriptions under way, a few at a time."""
    for row in _rows(connection, QUERIES.list_waiting_prepends):
        yield WaitingPrepend(
            id=row["id"],
            prepend=row["prepend"],
            medium=Medium(content_type=row["content_type"], channel=row["channel"]),
            text=row["text"],
        )


def list_large(connection: Connection, *, max_bytes: int) -> Iterator[LargeMetadata]:
    """The metadata that are beyond the limits, a few at a time."""
    limits = {"bytes": max_bytes, "values": MAX_METADATA_VALUES}
    for row in _rows(connection, QUERIES.list_large_metadata, limits):
        yield LargeMetadata(**row)


def find_ended(connection: Connection, *, go_on: bool) -> tuple[int, int]:
    """Find subscriptions beyond the end of their content; with ``go_on``, let them go on.

    Returns how many there are, and how many have gone on.
    """
    with connection.cursor() as cursor:
        cursor.execute(QUERIES.find_ended.sql)
        found = cursor.rowcount
        if not go_on:
            return found, 0
        cursor.execute(QUERIES.go_on.sql)
        return found, cursor.rowcount


def list_ended(connection: Connection) -> Iterator[EndedSubscription]:
    """The subscriptions that ``find_ended`` has found, a few at a time."""
    for row in _rows(connection, QUERIES.list_ended):
        yield EndedSubscription(**row)


def _rows(
    connection: Connection, query: Query, parameters: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    with connection.cursor(query.name, cursor_factory=RealDictCursor) as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(query.sql, parameters)
        for row in cursor:
            yield dict(row)
