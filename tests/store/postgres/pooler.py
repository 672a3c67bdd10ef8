"""A connection pooler between libpq and the server, as small as one can be."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from attrs import define, evolve, field
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from sbm.settings.endpoints import DatabaseAddress
from tests.store.postgres.database_proxy import PORT, reactor

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_VERSION = 196608


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@define(eq=False)
class _Framed(Protocol):
    """Cuts what comes into messages of PostgreSQL's protocol."""

    transport: Any = None
    buffered: bytes = b""
    is_started: bool = False

    def dataReceived(self, data: bytes) -> None:
        self.buffered += data
        for message in self._messages():
            self.received(message)

    def _messages(self) -> Iterator[bytes]:
        while True:
            head = 1 if self.is_started else 0
            if len(self.buffered) < head + 4:
                return
            size = head + int.from_bytes(self.buffered[head : head + 4], "big")
            if len(self.buffered) < size:
                return
            message, self.buffered = self.buffered[:size], self.buffered[size:]
            yield message

    def received(self, message: bytes) -> None:
        raise NotImplementedError


@define(eq=False)
class _PooledConnection(_Framed):
    """A connection of the pool to the server."""

    pooler: Any = None
    client: Any = None
    greeting: list[bytes] = field(factory=list)
    is_ready: bool = False

    def connectionMade(self) -> None:
        self.is_started = True
        address = self.pooler.to
        told = {"user": address.user, "database": address.name, "client_encoding": "UTF8"}
        pairs = b"".join(part.encode() + b"\0" for pair in told.items() for part in pair)
        body = _VERSION.to_bytes(4, "big") + pairs + b"\0"
        self.transport.write((len(body) + 4).to_bytes(4, "big") + body)

    def received(self, message: bytes) -> None:
        is_last = message[:1] == b"Z"
        if not self.is_ready:
            self.greeting.append(message)
            if is_last:
                self.is_ready = True
                self.pooler.free(self)
            return
        client = self.client
        if client is not None:
            client.transport.write(message)
        if is_last and message[5:6] == b"I" and self.pooler.mode == "transaction":
            self.client = client.server = None
            self.pooler.free(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.pooler.forget(self)
        if self.client is not None:
            self.client.transport.loseConnection()


@define(eq=False)
class _PoolerClient(_Framed):
    """libpq's connection to the pool."""

    pooler: Any = None
    server: Any = None
    waiting: list[bytes] = field(factory=list)
    is_welcome: bool = False

    def received(self, message: bytes) -> None:
        if not self.is_started:
            if int.from_bytes(message[4:8], "big") in (_SSL_REQUEST, _GSS_REQUEST):
                self.transport.write(b"N")
                return
            self.is_started = True
            self.pooler.wanted.append(self)
            self.pooler.serve()
        elif message[:1] == b"X":
            self.transport.loseConnection()
        elif self.server is not None:
            self.server.transport.write(message)
        else:
            self.waiting.append(message)
            self.pooler.wanted.append(self)
            self.pooler.serve()

    def begin(self, server: _PooledConnection) -> bool:
        """Go on with this server; False: it is not needed yet."""
        if not self.is_welcome:
            self.is_welcome = True
            for message in server.greeting:
                if message[:1] == b"K" and self.pooler.has_own_pids:
                    message = _message(b"K", random.randbytes(8))
                self.transport.write(message)
            if self.pooler.mode == "transaction":
                return False
        self.server, server.client = server, self
        for message in self.waiting:
            server.transport.write(message)
        self.waiting = []
        return True

    def connectionLost(self, reason: Any = None) -> None:
        if self.server is not None:
            self.server.client = None
            self.server.transport.loseConnection()


@define(eq=False, kw_only=True)
class Pooler(Factory):
    """Gives its clients the ``size`` connections that it has to the server of a database.

    In ``transaction`` mode a client has one for as long as a transaction lasts, and the one that
    was used last comes first (with ``takes_turns``, last); in ``session`` mode, until it hangs up.
    Clients are shown pids of the pooler's own, or (``has_own_pids`` is false) those of the server.
    """

    to: DatabaseAddress
    mode: Literal["transaction", "session"] = "transaction"
    size: int = 10
    takes_turns: bool = False
    has_own_pids: bool = True
    idle: deque[_PooledConnection] = field(factory=deque, init=False)
    servers: list[_PooledConnection] = field(factory=list, init=False)
    wanted: deque[_PoolerClient] = field(factory=deque, init=False)
    clients: list[_PoolerClient] = field(factory=list, init=False)
    folder: Path = field(
        factory=lambda: Path(tempfile.mkdtemp(prefix="sbm-pooler-", dir="/tmp")), init=False
    )
    port: Any = field(default=None, init=False)
    opening: int = field(default=0, init=False)
    noisy = False

    @property
    def address(self) -> DatabaseAddress:
        return evolve(self.to, hosts=((str(self.folder), PORT),))

    def open(self) -> None:
        self.port = reactor.listenUNIX(str(self.folder / f".s.PGSQL.{PORT}"), self)

    async def close(self) -> None:
        await self.port.stopListening()
        for one in (*self.clients, *self.servers):
            one.transport.abortConnection()
        shutil.rmtree(self.folder, ignore_errors=True)

    def buildProtocol(self, addr: Any) -> _PoolerClient:
        self.clients.append(_PoolerClient(pooler=self))
        return self.clients[-1]

    def serve(self) -> None:
        """Give idle servers to those who want one, and open more for the others."""
        while self.wanted and self.idle:
            server = self.idle.popleft() if self.takes_turns else self.idle.pop()
            if not self.wanted.popleft().begin(server):
                self.free(server)
        while self.opening < len(self.wanted) and len(self.servers) + self.opening < self.size:
            self.opening += 1
            connectProtocol(self._endpoint(), _PooledConnection(pooler=self)).addCallback(
                self._opened
            )

    def free(self, server: _PooledConnection) -> None:
        self.idle.append(server)
        self.serve()

    def forget(self, server: _PooledConnection) -> None:
        self.servers.remove(server)
        if server in self.idle:
            self.idle.remove(server)
        self.serve()

    def _opened(self, server: _PooledConnection) -> None:
        self.opening -= 1
        self.servers.append(server)

    def _endpoint(self) -> Any:
        (host, port), *_ = self.to.hosts
        if host.startswith("/"):
            return UNIXClientEndpoint(reactor, f"{host}/.s.PGSQL.{port}")
        return TCP4ClientEndpoint(reactor, host or "localhost", port)
