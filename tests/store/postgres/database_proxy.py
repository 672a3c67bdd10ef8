"""Something between libpq and the server that goes wrong when a test says so."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from sbm.settings.endpoints import DatabaseAddress

reactor: Any = _reactor

PORT = 5432
_CANCEL_REQUEST = (80877102).to_bytes(4, "big")


@define(eq=False)
class _ServerSide(Protocol):
    """The server's end of a line."""

    line: _ClientSide
    transport: Any = None

    def dataReceived(self, data: bytes) -> None:
        if not self.line.is_deaf:
            self.line.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if not self.line.is_hole:
            self.line.transport.loseConnection()


@define(eq=False)
class _ClientSide(Protocol):
    """libpq's end of a line."""

    proxy: DatabaseProxy
    unsent: bytes = b""
    server: Any = None
    transport: Any = None
    is_deaf: bool = False
    is_hole: bool = False
    closed: Deferred[None] = field(factory=Deferred)

    def fall_silent(self) -> None:
        """Lose all that is said from now on, and tell neither side that the other hung up."""
        self.is_deaf = self.is_hole = True

    def abort(self) -> None:
        """Hang up, on both sides."""
        self.transport.abortConnection()
        if self.server is not None:
            self.server.transport.abortConnection()

    def connectionMade(self) -> None:
        self.proxy.lines.append(self)
        if not self.proxy.is_silent:
            connected = connectProtocol(self.proxy.endpoint(), _ServerSide(self))
            connected.addCallbacks(self._connected, lambda _: self.transport.loseConnection())

    def dataReceived(self, data: bytes) -> None:
        proxy = self.proxy
        if proxy.hole_before and proxy.hole_before in data:
            self.fall_silent()
            proxy.hit()
        if self.is_hole:
            return
        proxy.count(data)
        if proxy.stop_before and proxy.stop_before in data:
            proxy.hit()
            self.transport.abortConnection()
            return
        if proxy.deaf_after and proxy.deaf_after in data:
            self.is_deaf = True
            proxy.hit()
        if proxy.stop_after and proxy.stop_after in data:
            self.is_deaf = True
            self.server.transport.write(data)
            self.server.transport.loseConnection()
            proxy.hit()
        elif self.server is None:
            self.unsent += data
        else:
            self.server.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)
        if self.server is not None and not self.is_hole:
            self.server.transport.loseConnection()

    def _connected(self, server: _ServerSide) -> None:
        self.server = server
        server.transport.write(self.unsent)


@define(eq=False)
class DatabaseProxy(Factory):
    """Listens on a socket of its own, in front of the server of a database.

    What a client says is matched with: ``stop_before``, hang up instead of passing it on;
    ``stop_after``, pass it on, and hang up instead of passing on the answer; ``deaf_after``, pass
    it, and nothing back any more; ``hole_before``, pass on nothing any more, nor that either side
    hangs up, as when a cable is cut. ``is_silent``: accept, and say nothing. ``queries`` has
    the text of each round trip.
    """

    to: DatabaseAddress
    stop_before: bytes = b""
    stop_after: bytes = b""
    deaf_after: bytes = b""
    hole_before: bytes = b""
    is_silent: bool = False
    cancels: int = 0
    lines: list[_ClientSide] = field(factory=list)
    queries: list[bytes] = field(factory=list)
    hits: int = 0
    struck: Deferred[None] = field(factory=Deferred)
    folder: Path = field(factory=lambda: Path(tempfile.mkdtemp(prefix="sbm-proxy-", dir="/tmp")))
    port: Any = None
    noisy = False

    @property
    def address(self) -> DatabaseAddress:
        return evolve(self.to, hosts=((str(self.folder), PORT),))

    def buildProtocol(self, addr: Any) -> _ClientSide:
        return _ClientSide(self)

    def endpoint(self) -> Any:
        (host, port), *_ = self.to.hosts
        if host.startswith("/"):
            return UNIXClientEndpoint(reactor, f"{host}/.s.PGSQL.{port}")
        return TCP4ClientEndpoint(reactor, host or "localhost", port)

    def open(self) -> None:
        self.port = reactor.listenUNIX(str(self.folder / f".s.PGSQL.{PORT}"), self)

    async def close(self) -> None:
        """Stop listening, and hang up."""
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        for line in self.lines:
            line.abort()
            if not line.closed.called:
                await line.closed

    def fall_silent(self) -> None:
        """Be a black hole for everybody, until told otherwise."""
        self.is_silent = True
        for line in self.lines:
            line.fall_silent()

    def recover(self) -> None:
        """Serve those who come from now on; who is in a hole stays there."""
        self.is_silent = False

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def count(self, data: bytes) -> None:
        if data[4:8] == _CANCEL_REQUEST:
            self.cancels += 1
        if data[:1] == b"Q":
            self.queries.append(data[5:].rstrip(b"\0"))

    def hit(self) -> None:
        self.hits += 1
        struck, self.struck = self.struck, Deferred()
        reactor.callLater(0, struck.callback, None)
