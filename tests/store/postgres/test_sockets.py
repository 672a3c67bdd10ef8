"""Servers that go away while a connection is made: whatever libpq does, the database is away."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import connecting as module
from sbm.store.postgres.connecting import open_connection
from sbm.store.postgres.errors import DatabaseUnavailable
from tests.store.postgres.database_proxy import reactor
from tests.store.transactions import SOON

_AUTHENTICATED = b"R" + (8).to_bytes(4, "big") + (0).to_bytes(4, "big")


@define(eq=False)
class _ClosingProtocol(Protocol):
    """Says something, and is gone."""

    factory: Any = None
    transport: Any = None
    heard: int = 0

    def dataReceived(self, data: bytes) -> None:
        says = self.factory.says
        said = says[self.heard] if self.heard < len(says) else None
        self.heard += 1
        if said is None:
            self.transport.abortConnection()
            return
        self.transport.write(said)
        if self.factory.hangs_up_at_once:
            self.transport.loseConnection()


@define(eq=False)
class ClosingServer(Factory):
    """A server that answers what it hears with these words, one for each, and then hangs up."""

    says: tuple[bytes, ...] = ()
    hangs_up_at_once: bool = False
    noisy = False

    def buildProtocol(self, addr: Any) -> _ClosingProtocol:
        return _ClosingProtocol(self)


@pytest.mark.parametrize("hangs_up_at_once", [False, True])
@pytest.mark.parametrize(
    "says",
    [(), (b"N",), (b"S",), (b"S", b"x" * 100), (b"N", _AUTHENTICATED), (b"E",), (b"G",)],
    ids=["nothing", "no TLS", "TLS", "bad TLS", "authenticated", "old error", "nonsense"],
)
@pytest.mark.parametrize("sslmode", ["prefer", "allow", "disable"])
@ensureDeferred
async def test_a_server_that_dies_in_the_handshake_is_unavailable(
    says: tuple[bytes, ...], hangs_up_at_once: bool, sslmode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", SOON)  # of some, libpq expects to hear more
    before = {*reactor.getReaders(), *reactor.getWriters()}
    port = reactor.listenTCP(0, ClosingServer(says, hangs_up_at_once), interface="127.0.0.1")
    where = f"127.0.0.1:{port.getHost().port}"
    address = DatabaseAddress.parse(f"postgres://u@{where}/d?sslmode={sslmode}")
    try:
        with pytest.raises(DatabaseUnavailable):
            await open_connection(reactor, address)
    finally:
        await port.stopListening()
    await deferLater(reactor, 0)
    left = {*reactor.getReaders(), *reactor.getWriters()} - before
    assert not [one for one in left if type(one).__module__.startswith("sbm.")]


@ensureDeferred
async def test_giving_up_while_the_server_says_nothing_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.01)
    port = reactor.listenTCP(0, ClosingServer((b"", b"")), interface="127.0.0.1")
    address = DatabaseAddress.parse(f"postgres://u@127.0.0.1:{port.getHost().port}/d")
    try:
        with pytest.raises(DatabaseUnavailable):
            await open_connection(reactor, address)
    finally:
        await port.stopListening()
