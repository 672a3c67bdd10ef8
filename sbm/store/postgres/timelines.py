"""What a server says of itself: its cluster, its timeline, and where its database has been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

import psycopg2
from attrs import field, frozen
from twisted.logger import Logger

from sbm.settings.endpoints import HostAndPort
from sbm.store.postgres.connection import Connection, run
from sbm.store.postgres.errors import one_line
from sbm.store.postgres.statements import load

QUERIES = load("timelines")

_log = Logger()

# The token of each timeline on which a daemon has written, by cluster and timeline; the oldest row
# comes first.
History: TypeAlias = Mapping[tuple[str, int], UUID]


@frozen(kw_only=True)
class FoundServer:
    """One server, as it was when it was asked; ``timeline`` is None if it accepts no writes.

    If it does not say which one it is, ``cluster`` is empty, and the timeline is 0.
    ``started_at`` tells servers of one cluster apart, also if two hosts are the same server.
    """

    cluster: str
    timeline: int | None
    started_at: str
    place: HostAndPort = field(default=("", 0), eq=False)
    history: History = field(factory=dict, eq=False)

    @property
    def is_untold(self) -> bool:
        """Whether it does not say which cluster it is: the user of the database may not ask."""
        return not self.cluster


async def find_server(
    reactor: Any, connection: Connection, *, place: HostAndPort, seconds: float
) -> FoundServer:
    """What the server is, without its history."""
    try:
        cursor = await run(reactor, connection, QUERIES.find_server.sql, seconds=seconds)
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedFunction):
        cursor = await run(reactor, connection, QUERIES.find_role.sql, seconds=seconds)
    cluster, timeline, started_at = cursor.fetchone()
    return FoundServer(
        cluster=cluster,
        timeline=None if timeline is None else int(timeline, 16),
        started_at=started_at,
        place=place,
    )


async def list_timelines(reactor: Any, connection: Connection, *, seconds: float) -> History:
    """Where the database has been; empty if its schema is older than that."""
    try:
        cursor = await run(reactor, connection, QUERIES.list_timelines.sql, seconds=seconds)
    except psycopg2.errors.UndefinedTable:
        return {}
    return {(cluster, timeline): UUID(str(token)) for cluster, timeline, token in cursor.fetchall()}


async def record_timeline(
    reactor: Any, connection: Connection, *, cluster: str, timeline: int, seconds: float
) -> None:
    """Record that the database is on this timeline, unless that is recorded.

    If the server refuses it, that is logged: the daemons can work without the row.
    """
    parameters = {"cluster": cluster, "timeline": timeline}
    try:
        await run(reactor, connection, QUERIES.record_timeline.sql, parameters, seconds=seconds)
    except psycopg2.Error as error:
        if not connection.is_idle:
            raise
        _log.warn("the timeline of the database cannot be recorded: {error}", error=one_line(error))
