"""Opening one connection to PostgreSQL without ever blocking the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
from attrs import define
from psycopg2 import extras
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from txpostgres import txpostgres
from zope.interface import implementer

from sbm.addresses import DatabaseAddress
from sbm.store import migrations
from sbm.store.errors import DatabaseUnavailable, SchemaMismatch, one_line

extras.register_uuid()

CONNECT_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
# The server's own limit comes first; this one is for a server that is silent.
SILENCE_SECONDS = STATEMENT_SECONDS + 5.0

_SESSION = f"""
    SET statement_timeout = '{STATEMENT_SECONDS:.0f}s';
    SET idle_in_transaction_session_timeout = '60s';
    SET lock_timeout = '3s';
    SET TimeZone = 'UTC';
    SET jit = off;
"""

# A half-open connection is noticed by the kernel, not by a statement that never comes back.
_SOCKET = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,
}


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    """A cursor on which a statement that took too long is the server's doing.

    txpostgres takes every cancelled statement for one that its caller cancelled; ours never are.
    """

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure


class Connection(txpostgres.Connection):  # type: ignore[misc]
    """A connection that notices quietly when the server closes it while it idles.

    ``on_close`` is called when it is closed, by whichever side.
    """

    cursorFactory = _Cursor
    on_close: Callable[[], object] | None = None

    def close(self) -> None:
        super().close()
        if self.on_close is not None:
            self.on_close()

    def doRead(self) -> None:
        try:
            super().doRead()
        except psycopg2.Error:
            self.close()

    @property
    def is_open(self) -> bool:
        return not self.closed

    @property
    def is_idle(self) -> bool:
        """Whether it is open, outside any transaction, and has no statement under way."""
        return (
            self.is_open
            and not self.isexecuting()
            and self.info.transaction_status == TRANSACTION_STATUS_IDLE
        )


# What a statement raises when its connection is gone, or the server gave up on it.
LOST = (psycopg2.OperationalError, psycopg2.InterfaceError, ConnectionDone)


async def open_connection(reactor: Any, address: DatabaseAddress) -> Connection:
    """Connect to the first of the hosts that accepts, and check that its schema is ours.

    Each host has CONNECT_SECONDS; a standby counts as not accepting. Raises DatabaseUnavailable,
    or SchemaMismatch when a server was reached but is not fit.
    """
    refusals = []
    for host, port in address.hosts:
        for where in await _locate(reactor, host):
            try:
                return await _open_at(reactor, address, where | {"port": str(port)})
            except SchemaMismatch:
                raise
            except (*LOST, psycopg2.Error, DatabaseUnavailable) as error:
                refusals.append(one_line(error) or f"{host}:{port} does not answer")
    raise DatabaseUnavailable("; ".join(refusals) or "no host name resolves")


async def run(reactor: Any, connection: Connection, sql: str, parameters: Any = None) -> Any:
    """Execute one statement and return its cursor; a silent server costs it the connection.

    The query is never cancelled: that would block the whole process in libpq. Whoever stops
    waiting leaves the connection unusable, and has to close it.
    """
    cursor = connection.cursor()
    await _within(reactor, SILENCE_SECONDS, connection, cursor.execute(sql, parameters))
    return cursor


async def _open_at(reactor: Any, address: DatabaseAddress, where: dict[str, str]) -> Connection:
    connection = await _connect(reactor, address, where)
    try:
        await _make_ready(reactor, connection)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(reactor: Any, address: DatabaseAddress, where: dict[str, str]) -> Connection:
    connection = Connection(reactor=reactor)
    opened = connection.connect(**{**_SOCKET, **address.parameters(), **where})
    try:
        await _within(reactor, CONNECT_SECONDS, connection, opened)
    except BaseException:
        if connection.pollable() is not None:
            connection.close()
        raise
    return connection


async def _within(
    reactor: Any, seconds: float, connection: Connection, answer: Deferred[Any]
) -> None:
    """Wait for libpq's answer; when the time is up, close the connection, which ends the wait.

    The one who waits may be cancelled, libpq may not.
    """
    waited: Deferred[Any] = Deferred()
    answer.addBoth(lambda result: None if waited.called else waited.callback(result))
    timer = reactor.callLater(seconds, connection.close)
    try:
        await waited
    finally:
        if timer.active():
            timer.cancel()


async def _make_ready(reactor: Any, connection: Connection) -> None:
    await run(reactor, connection, _SESSION)
    cursor = await run(reactor, connection, "SELECT pg_is_in_recovery()")
    if cursor.fetchone()[0]:
        raise DatabaseUnavailable("the server is a standby")
    cursor = await run(reactor, connection, "SELECT to_regclass('schema_migrations')::text")
    found = set()
    if cursor.fetchone()[0]:
        cursor = await run(reactor, connection, "SELECT name FROM schema_migrations")
        found = {name for (name,) in cursor.fetchall()}
    complaint = migrations.complaint(found, connection.server_version)
    if complaint:
        raise SchemaMismatch(complaint)


async def _locate(reactor: Any, host: str) -> list[dict[str, str]]:
    """What tells libpq each address of a host; its own look-up would block the reactor."""
    if not host:
        return [{}]  # libpq's own default, a socket
    if host.startswith(("/", "@")):
        return [{"host": host}]
    addresses = _Addresses()
    reactor.nameResolver.resolveHostName(addresses, host)
    return [{"host": host, "hostaddr": one} for one in await addresses.found]


@implementer(IResolutionReceiver)
@define(eq=False, slots=False)
class _Addresses:
    """Collects the addresses of one host name."""

    def __attrs_post_init__(self) -> None:
        self.found: Deferred[list[str]] = Deferred()
        self._so_far: list[str] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Nothing to do until the addresses come."""

    def addressResolved(self, address: Any) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._so_far.append(address.host)

    def resolutionComplete(self) -> None:
        self.found.callback(self._so_far)
