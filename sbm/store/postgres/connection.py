"""A connection to PostgreSQL that does not block the reactor, and its statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from attrs import frozen
from psycopg2 import extras
from psycopg2.extensions import (
    POLL_OK,
    POLL_READ,
    POLL_WRITE,
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from txpostgres import txpostgres

from sbm.settings.endpoints import HostAndPort
from sbm.store.postgres.prepared import PreparedStatements
from sbm.store.postgres.sockets import SocketWatch

extras.register_uuid()

# For statements that a server answers at once, if it is there.
PROMPT_SECONDS = 5.0
STATEMENT_SECONDS = 20.0
# The server's own limit comes first; this one is for a server that does not answer.
SILENCE_SECONDS = STATEMENT_SECONDS + 5.0


@frozen(kw_only=True)
class Server:
    """The server of a connection: a database cluster, between two crashes or failovers.

    When a server crashes, or another one takes over, transactions that were not yet on the disk or
    at the standby are forgotten, and their ids are used again. ``lineage`` is the timeline and the
    database: it stays through a crash, and ``life`` does not.
    """

    cluster: str
    lineage: tuple[int, int]
    life: str

    @property
    def timeline(self) -> int:
        """The timeline, which is another one after each failover."""
        return self.lineage[0]

    @property
    def state(self) -> object:
        """Equal for two servers if the commits of one are known to the other."""
        return self.cluster, self.lineage


class Connection(txpostgres.Connection):  # type: ignore[misc]
    """A connection that notices, without an error, if the server closes it while it is idle.

    ``on_close`` is called when it is closed, by either side. ``place`` is its host and port;
    ``server`` is None if the server does not say which one it is. ``pid`` is the server process,
    which changes behind a pooler in transaction mode.

    It executes its statements itself. The cursor of txpostgres does the same with three times the
    work, because it stops to watch the socket and begins again for each statement; and it takes
    each statement that was cancelled for one that its caller has cancelled, but here that was the
    server, because the statement took too long.
    """

    on_close: Callable[[], object] | None = None
    place: HostAndPort
    server: Server | None = None
    pid: int = 0

    def __init__(self, reactor: Any) -> None:
        self._watch = SocketWatch(reactor=reactor)
        super().__init__(reactor=self._watch)
        self.prepared = PreparedStatements()
        self._statement: tuple[Any, Deferred[Any]] | None = None

    def execute(self, sql: str, parameters: Any = None) -> Deferred[Any]:
        """Execute one statement, if there is no other; fires with its cursor.

        If the Deferred is cancelled, the statement goes on.
        """
        cursor, done = self._connection.cursor(), Deferred[Any]()
        cursor.execute(sql, parameters)
        self._statement = cursor, done
        self._go_on()
        return done

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._watch.release()
        self._finish(Failure(ConnectionDone()))
        if self.on_close is not None:
            self.on_close()

    def doRead(self) -> None:
        if self._statement is not None:
            self._go_on()
            return
        with self._closed_if_lost():
            super().doRead()

    def doWrite(self) -> None:
        if self._statement is not None:
            self.reactor.removeWriter(self)
            self._go_on()
            return
        with self._closed_if_lost():
            super().doWrite()

    def connectionLost(self, reason: Failure) -> None:
        if self._statement is not None and self.is_open:
            self._go_on()  # libpq knows the error
        else:
            super().connectionLost(reason)

    def _go_on(self) -> None:
        """Go on with the statement, until libpq has to wait for the server again."""
        assert self._statement is not None
        try:
            state = self._connection.poll()
        except psycopg2.Error:
            self._finish(Failure())
            return
        if state == POLL_OK:
            cursor, _ = self._statement
            self._finish(cursor)
            return
        if state == POLL_READ and self._watch.is_read:
            return
        with self._closed_if_lost():
            if state == POLL_WRITE:
                self.reactor.addWriter(self)
            elif state == POLL_READ:
                self.reactor.addReader(self)

    def _finish(self, result: Any) -> None:
        if self._statement is None:
            return
        (_, done), self._statement = self._statement, None
        if self.is_open:
            self.checkForNotifies()
        done.callback(result)

    @contextmanager
    def _closed_if_lost(self) -> Iterator[None]:
        """Close the connection if its socket is gone, which ends every wait on it."""
        try:
            yield
        except (psycopg2.Error, ValueError):  # ValueError: libpq has closed the socket
            self.close()

    @property
    def is_open(self) -> bool:
        return not self._connection.closed

    @property
    def is_idle(self) -> bool:
        """Whether it is open, in no transaction, and executes no statement."""
        return (
            self.is_open
            and not self._connection.isexecuting()
            and self._connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        )

    @property
    def is_refused(self) -> bool:
        """Whether the server has refused a statement of the transaction, and waits for ROLLBACK."""
        return self.is_open and self.info.transaction_status == TRANSACTION_STATUS_INERROR


async def run(
    reactor: Any,
    connection: Connection,
    sql: str,
    parameters: Any = None,
    *,
    seconds: float | None = None,
) -> Any:
    """Execute one statement and return its cursor.

    If the server does not answer within ``seconds``, by default SILENCE_SECONDS, the connection is
    closed. The query is never cancelled: that would block the whole process in libpq. If the caller
    stops waiting, the connection cannot be used any more, and the caller has to close it.
    """
    timer = reactor.callLater(SILENCE_SECONDS if seconds is None else seconds, connection.close)
    try:
        return await connection.execute(sql, parameters)
    finally:
        if timer.active():
            timer.cancel()
