"""Opens a connection to PostgreSQL without blocking the reactor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg2
from attrs import define
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from zope.interface import implementer

from sbm.runtime.threads import shielded
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import migrations, session
from sbm.store.postgres.connection import STATEMENT_SECONDS, Connection, Server, run
from sbm.store.postgres.errors import (
    LOST,
    DatabaseUnavailable,
    DatabaseUnfit,
    SchemaMismatch,
    one_line,
)

# Every wait for the database ends within half a minute after the database is gone.
# The time to connect and set up the session: for each address of each host, and for all together.
CONNECT_SECONDS = 5.0
REACH_SECONDS = 20.0

# The server, too, has to notice that the daemon is gone: until then it keeps the daemon's locks and
# its connection.
_LIMITS = {
    "statement_timeout": f"{STATEMENT_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS:.0f}s",
    "lock_timeout": "3s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_SCHEDULING = "SELECT set_config('sbm.scheduling', %(mode)s, false)"

# The identity of the cluster; its timeline, which a standby leaves when it becomes the primary; the
# oid of the database, which is another one if the database is dropped and made again; and since
# when the statistics of the server count, which is since its last crash, or since they were reset.
_SERVER = """
    SELECT (SELECT system_identifier::text FROM pg_control_system()),
           left(pg_walfile_name(pg_current_wal_lsn()), 8),
           (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
           COALESCE(pg_stat_get_bgwriter_stat_reset_time()::text, '')
"""

# A half-open connection is noticed by the kernel, not by a statement that never comes back.
_SOCKET = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20000,
}


async def open_connection(
    reactor: Any, address: DatabaseAddress, scheduling: str = ""
) -> Connection:
    """Connect to the first host that accepts, and check that its schema is that of this release.

    Each address of a host has CONNECT_SECONDS, or less if there are many: REACH_SECONDS are for all
    of them, and even if the first ones do not answer, the last one gets its share. A standby and a
    read-only server count as not accepting. ``scheduling`` is the mode that triggers of the
    database use on this connection; if it is empty, they use the one that the last daemon has
    recorded. Raises DatabaseUnavailable, or DatabaseUnfit if a server was reached but cannot be
    used.
    """
    refusals = []
    give_up_at = reactor.seconds() + REACH_SECONDS
    for hosts_before, (host, port) in enumerate(address.hosts):

        def patience(addresses: int, hosts: int = len(address.hosts) - hosts_before) -> float:
            left = give_up_at - reactor.seconds()
            return float(min(CONNECT_SECONDS, left / hosts / addresses))

        try:
            found = await locate(reactor, host, patience(1))
        except TimeoutError:
            refusals.append(f"the name {host} cannot be resolved")
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


async def _open_at(
    reactor: Any, address: DatabaseAddress, where: dict[str, str], seconds: float
) -> Connection:
    async with opened(reactor, address, where, seconds) as connection:
        options = session.options_wanted(connection.info)
        if options is not None and "options" not in where:
            connection.close()
            return await _open_at(reactor, address, where | {"options": options}, seconds)
        problem = session.version_problem(connection.server_version)
        problem = problem or session.encoding_problem(
            connection.info.parameter_status("server_encoding")
        )
        if problem:
            raise DatabaseUnfit(problem)
        mark = await _marked(reactor, connection)
        if connection.pid != connection.info.backend_pid:
            # There is a pooler, which shows a pid of its own. Two sessions show its mode.
            try:
                async with opened(reactor, address, where, seconds) as other:
                    await _refuse_shared(reactor, mark, {"ours": connection, "other": other})
                    other.close()
            except (*LOST, psycopg2.Error) as error:
                raise DatabaseUnavailable(
                    "the mode of the connection pooler could not be found out, because that takes"
                    f" a second connection: {one_line(error)}"
                ) from error
        await _make_ready(reactor, connection)
    return connection


@asynccontextmanager
async def opened(
    reactor: Any, address: DatabaseAddress, where: dict[str, str], seconds: float
) -> AsyncIterator[Connection]:
    """A connection that is closed if the block fails, or takes longer than ``seconds``."""
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
    reactor: Any, mark: tuple[int, str], sessions: Mapping[session.SessionName, Connection]
) -> None:
    """Raise DatabaseUnfit if a pooler does not keep sessions apart."""
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
    """Close the connection when the time is up, which ends every wait on it."""
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
            "the server is a standby" if is_standby else "the server is read-only"
        )
    if problem := session.role_problem(role):
        raise DatabaseUnfit(problem)
    await run(reactor, connection, session.PLACED_FIRST)
    cursor = await run(reactor, connection, "SELECT to_regclass('schema_migrations')::text")
    found = set()
    if cursor.fetchone()[0]:
        cursor = await run(reactor, connection, "SELECT name FROM schema_migrations")
        found = {name for (name,) in cursor.fetchall()}
    problem = migrations.problem(found, connection.server_version)
    if problem:
        raise SchemaMismatch(problem)
    connection.server = await _find_server(reactor, connection)


async def _find_server(reactor: Any, connection: Connection) -> Server | None:
    try:
        cursor = await run(reactor, connection, _SERVER)
    except psycopg2.Error:
        if not connection.is_idle:
            raise
        return None  # a server with PostgreSQL's protocol is not always PostgreSQL
    cluster, timeline, database, life = cursor.fetchone()
    return Server(cluster=cluster, lineage=(int(timeline, 16), database), life=life)


async def locate(reactor: Any, host: str, seconds: float) -> list[dict[str, str]]:
    """The addresses of a host, as options of libpq; its own look-up would block the reactor.

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
