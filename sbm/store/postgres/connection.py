"""Opening one connection to PostgreSQL without ever blocking the reactor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg2
from attrs import define, frozen
from psycopg2 import extras
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from txpostgres import txpostgres
from zope.interface import implementer

from sbm.runtime.threads import shielded
from sbm.settings.endpoints import DatabaseAddress, HostAndPort
from sbm.store.postgres import migrations, session
from sbm.store.postgres.errors import DatabaseUnavailable, DatabaseUnfit, SchemaMismatch, one_line
from sbm.store.postgres.sockets import SocketWatch

extras.register_uuid()

# Whoever waits for the database is told within half a minute that it is gone, wherever he waits.
# To be let in, and set up: each address of each host, and all of them together.
CONNECT_SECONDS = 5.0
REACH_SECONDS = 20.0
# What asks nothing of a server but to be there.
PROMPT_SECONDS = 5.0
STATEMENT_SECONDS = 20.0
# The server's own limit comes first; this one is for a server that is silent.
SILENCE_SECONDS = STATEMENT_SECONDS + 5.0

# The server, too, has to notice that we are gone: until then it keeps our locks and our place.
_LIMITS = {
    "statement_timeout": f"{STATEMENT_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS:.0f}s",
    "lock_timeout": "3s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_SCHEDULING = "SELECT set_config('sbm.scheduling', %(mode)s, false)"

# The identity of the cluster; its timeline, which a standby leaves when it becomes the primary;
# and since when its statistics count, which is since its last crash, or since somebody reset them.
_SERVER = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           concat_ws(' ', left(pg_walfile_name(pg_current_wal_lsn()), 8),
                     pg_stat_get_bgwriter_stat_reset_time())
"""

# A half-open connection is noticed by the kernel, not by a statement that never comes back.
_SOCKET = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,
}


@frozen
class Server:
    """Which server a connection leads to: a database cluster, in one of its lives.

    A life ends with a crash, and when another server takes over: whatever was not yet on the disk
    or at the standby is forgotten, and the ids of forgotten transactions are given away again.
    """

    cluster: str
    life: str


class _Cursor(txpostgres.Cursor):  # type: ignore[misc]
    """A cursor on which a statement that took too long is the server's doing.

    txpostgres takes every cancelled statement for one that its caller cancelled; ours never are.
    """

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure

    def doRead(self) -> None:
        with self._connection.closed_if_lost():
            super().doRead()

    def doWrite(self) -> None:
        with self._connection.closed_if_lost():
            super().doWrite()


class Connection(txpostgres.Connection):  # type: ignore[misc]
    """A connection that notices quietly when the server closes it while it idles.

    ``on_close`` is called when it is closed, by whichever side. ``place`` is which of the hosts it
    leads to; ``server`` is None where the server does not say who it is. ``pid`` is the process
    that serves it, which a pooler in transaction mode changes.
    """

    cursorFactory = _Cursor
    on_close: Callable[[], object] | None = None
    place: HostAndPort
    server: Server | None = None
    pid: int = 0

    def __init__(self, reactor: Any) -> None:
        self._watch = SocketWatch(reactor=reactor)
        super().__init__(reactor=self._watch)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._watch.release()
        if self.on_close is not None:
            self.on_close()

    def doRead(self) -> None:
        with self.closed_if_lost():
            super().doRead()

    def doWrite(self) -> None:
        with self.closed_if_lost():
            super().doWrite()

    @contextmanager
    def closed_if_lost(self) -> Iterator[None]:
        """Close the connection if its socket is gone, which ends whatever waits on it."""
        try:
            yield
        except (psycopg2.Error, ValueError):  # the latter is of a socket that libpq has given up
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

    @property
    def is_refused(self) -> bool:
        """Whether the server has answered a statement with an error, and waits for ROLLBACK."""
        return self.is_open and self.info.transaction_status == TRANSACTION_STATUS_INERROR


# What a statement raises when its connection is gone, or the server gave up on it.
LOST = (psycopg2.OperationalError, psycopg2.InterfaceError, ConnectionDone)


async def open_connection(
    reactor: Any, address: DatabaseAddress, scheduling: str = ""
) -> Connection:
    """Connect to the first of the hosts that accepts, and check that its schema is ours.

    Each address of a host has CONNECT_SECONDS, or less where there are many: REACH_SECONDS are for
    all of them, and however silent the first ones are, the last one gets its share. A standby, and
    a server that only lets read, count as not accepting. ``scheduling`` is what triggers of the
    database go by on this connection; empty, they go by what the last daemon said. Raises
    DatabaseUnavailable, or DatabaseUnfit when a server was reached but is not fit.
    """
    refusals = []
    give_up_at = reactor.seconds() + REACH_SECONDS
    for hosts_before, (host, port) in enumerate(address.hosts):

        def patience(addresses: int, hosts: int = len(address.hosts) - hosts_before) -> float:
            left = give_up_at - reactor.seconds()
            return float(min(CONNECT_SECONDS, left / hosts / addresses))

        try:
            found = await _locate(reactor, host, patience(1))
        except TimeoutError:
            refusals.append(f"the name {host} is not resolved")
            continue
        seconds = patience(max(1, len(found)))
        for where in found:
            try:
                connection = await _open_at(reactor, address, where | {"port": str(port)}, seconds)
                await run(reactor, connection, _SCHEDULING, {"mode": scheduling})
            except DatabaseUnfit:
                raise
            except (*LOST, psycopg2.Error, DatabaseUnavailable) as error:
                refusals.append(one_line(error) or f"{host}:{port} does not answer")
            else:
                connection.place = (host, port)
                return connection
    raise DatabaseUnavailable("; ".join(refusals) or "no host name resolves")


async def run(
    reactor: Any,
    connection: Connection,
    sql: str,
    parameters: Any = None,
    *,
    seconds: float | None = None,
) -> Any:
    """Execute one statement and return its cursor; a silent server costs it the connection.

    It may be silent for SILENCE_SECONDS, or for ``seconds``. The query is never cancelled: that
    would block the whole process in libpq. Whoever stops waiting leaves the connection unusable,
    and has to close it.
    """
    cursor = connection.cursor()
    with _limit(reactor, connection, SILENCE_SECONDS if seconds is None else seconds):
        await shielded(cursor.execute(sql, parameters))
    return cursor


async def _open_at(
    reactor: Any, address: DatabaseAddress, where: dict[str, str], seconds: float
) -> Connection:
    async with _opened(reactor, address, where, seconds) as connection:
        options = session.options_wanted(connection.info)
        if options is not None and "options" not in where:
            connection.close()
            return await _open_at(reactor, address, where | {"options": options}, seconds)
        complaint = session.version_complaint(connection.server_version)
        complaint = complaint or session.encoding_complaint(
            connection.info.parameter_status("server_encoding")
        )
        if complaint:
            raise DatabaseUnfit(complaint)
        mark = await _marked(reactor, connection)
        if connection.pid != connection.info.backend_pid:
            # A pooler is in between, and shows a pid of its own. Two sessions tell its mode.
            try:
                async with _opened(reactor, address, where, seconds) as other:
                    await _refuse_shared(reactor, mark, {"ours": connection, "other": other})
                    other.close()
            except (*LOST, psycopg2.Error) as error:
                raise DatabaseUnavailable(
                    "the mode of the connection pooler could not be found out, for which it needs"
                    f" a connection to spare: {one_line(error)}"
                ) from error
        await _make_ready(reactor, connection)
    return connection


@asynccontextmanager
async def _opened(
    reactor: Any, address: DatabaseAddress, where: dict[str, str], seconds: float
) -> AsyncIterator[Connection]:
    """A connection that is closed if what is done with it fails, or takes too long."""
    connection = Connection(reactor)
    opened = connection.connect(
        **{**_SOCKET, **address.parameters(), **session.PARAMETERS, **where}
    )
    try:
        with _limit(reactor, connection, seconds):
            await shielded(opened)
            yield connection
    except BaseException:
        if connection.pollable() is not None:
            connection.close()
        raise


async def _marked(reactor: Any, connection: Connection) -> tuple[int, str]:
    cursor = await run(reactor, connection, session.MARK)
    connection.pid, mark = cursor.fetchone()
    return connection.pid, mark


async def _refuse_shared(
    reactor: Any, mark: tuple[int, str], sessions: Mapping[session.Which, Connection]
) -> None:
    """Raise DatabaseUnfit if a pooler mixes sessions up."""
    questions, answer = session.are_apart(mark), None
    while True:
        try:
            which, statement = questions.send(answer)
        except StopIteration as end:
            if not end.value:
                raise DatabaseUnfit(session.POOLED) from None
            return
        cursor = await run(reactor, sessions[which], statement)
        answer = cursor.fetchone() if cursor.description else None


@contextmanager
def _limit(reactor: Any, connection: Connection, seconds: float) -> Iterator[None]:
    """Close the connection when the time is up, which ends whatever waits on it."""
    timer = reactor.callLater(seconds, connection.close)
    try:
        yield
    finally:
        if timer.active():
            timer.cancel()


async def _make_ready(reactor: Any, connection: Connection) -> None:
    await run(reactor, connection, session.settings(connection.server_version, **_LIMITS))
    cursor = await run(
        reactor,
        connection,
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean,"
        f" ({session.ROLE})",
    )
    is_standby, is_read_only, role = cursor.fetchone()
    if is_standby or is_read_only:
        raise DatabaseUnavailable(
            "the server is a standby" if is_standby else "the server only lets read"
        )
    if complaint := session.role_complaint(role):
        raise DatabaseUnfit(complaint)
    await run(reactor, connection, session.PLACED_FIRST)
    cursor = await run(reactor, connection, "SELECT to_regclass('schema_migrations')::text")
    found = set()
    if cursor.fetchone()[0]:
        cursor = await run(reactor, connection, "SELECT name FROM schema_migrations")
        found = {name for (name,) in cursor.fetchall()}
    complaint = migrations.complaint(found, connection.server_version)
    if complaint:
        raise SchemaMismatch(complaint)
    connection.server = await _find_server(reactor, connection)


async def _find_server(reactor: Any, connection: Connection) -> Server | None:
    try:
        cursor = await run(reactor, connection, _SERVER)
    except psycopg2.Error:
        if not connection.is_idle:
            raise
        return None  # what speaks PostgreSQL's language is not always PostgreSQL
    cluster, life = cursor.fetchone()
    return Server(cluster, life)


async def _locate(reactor: Any, host: str, seconds: float) -> list[dict[str, str]]:
    """What tells libpq each address of a host; its own look-up would block the reactor.

    Raises TimeoutError.
    """
    if not host:
        return [{}]  # libpq's own default, a socket
    if host.startswith(("/", "@")):
        return [{"host": host}]
    addresses = _Addresses()
    reactor.nameResolver.resolveHostName(addresses, host)
    found = await addresses.found.addTimeout(seconds, reactor)
    return [{"host": host, "hostaddr": one} for one in found]


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
