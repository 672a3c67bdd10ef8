"""A port listens at a description, or ends the start with a message."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    UNIXClientEndpoint,
    clientFromString,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactor
from twisted.internet.threads import deferToThread

from sbm.runtime.listening import (
    BACKLOG,
    REFUSED_IN_TURN,
    BriefProtocol,
    BriefTransport,
    CannotListen,
    Port,
)
from tests.clients.certificate import self_signed

reactor: Any = _reactor


class Greeter(Protocol):
    """Says hello, and hangs up."""

    factory: Any

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self.factory.transports.append(transport)
        transport.write(b"hello")
        transport.loseConnection()


class BriefGreeter(BriefProtocol, Greeter):
    """The same, for less."""


@define(eq=False)
class Greeting(Factory):
    """Has all whom it greets greeted alike."""

    protocol: Any = Greeter
    transports: list[Any] = field(factory=list)
    successor: Any = None
    noisy = False


class Listener(Protocol):
    def __init__(self) -> None:
        self.said = b""
        self.all: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.said += data

    def connectionLost(self, reason: Any = None) -> None:
        self.all.callback(self.said)


def at(folder: Path) -> str:
    return str(folder / "socket")


async def greeting_at(path: str) -> bytes:
    listener: Any = await connectProtocol(UNIXClientEndpoint(reactor, path), Listener())
    return bytes(await listener.all)


@ensureDeferred
async def test_a_port_listens_from_its_privileged_start_until_it_stops(tmp_path: Path) -> None:
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=Greeting())
    port.privilegedStartService()
    port.startService()
    assert await greeting_at(at(tmp_path)) == b"hello"
    await port.stopService()
    assert not Path(at(tmp_path)).exists()


@ensureDeferred
async def test_a_port_without_a_privileged_start_listens_all_the_same(tmp_path: Path) -> None:
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=Greeting())
    port.startService()
    assert await greeting_at(at(tmp_path)) == b"hello"
    await port.stopService()


@ensureDeferred
async def test_a_port_that_never_listened_is_stopped_at_once() -> None:
    port: Any = Port(reactor=reactor, description="tcp:0", factory=Greeting())
    await port.stopService()


@pytest.mark.parametrize(
    ("description", "backlog"),
    [
        ("tcp:0:interface=127.0.0.1", BACKLOG),
        ("tcp:0:backlog=7", 7),
        (r"tcp6:0:interface=\:\:1", BACKLOG),
    ],
)
def test_many_new_connections_may_wait(description: str, backlog: int) -> None:
    reactor = MemoryReactor()
    port: Any = Port(reactor=reactor, description=description, factory=Greeting())
    port.privilegedStartService()
    assert [server[2] for server in reactor.tcpServers] == [backlog]


def test_a_port_that_is_taken_ends_the_start_with_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        description = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        port: Any = Port(reactor=reactor, description=description, factory=Greeting())
        with pytest.raises(CannotListen) as caught:
            port.privilegedStartService()
    assert str(caught.value).startswith(f"sbm cannot listen at {description}: ")
    assert "in use" in str(caught.value)


@pytest.mark.parametrize(
    "description",
    [
        "",
        "tcp",
        "tcp:http-ish",
        "tcp:80:colour=red",
        "telegraph:80",
        "ssl:443:privateKey=/nowhere/key.pem",
        "systemd:domain=INET:index=0",
        "unix:/nowhere/at/all/socket",
        "tcp:0:interface=no.such.address.invalid",
    ],
)
def test_a_description_that_is_none_ends_the_start_with_a_message(description: str) -> None:
    port: Any = Port(reactor=reactor, description=description, factory=Greeting())
    with pytest.raises(CannotListen, match="sbm cannot listen at"):
        port.privilegedStartService()


@pytest.mark.parametrize("kind", ["tcp", "tcp6", "unix", "ssl"])
@ensureDeferred
async def test_who_hears_something_brief_hears_it_without_a_transport_of_the_reactor(
    kind: str, tmp_path: Path
) -> None:
    """With TLS, there is more to say, and to hear."""
    key, certificate = self_signed(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    greeting = Greeting(BriefGreeter)
    there, here = {
        "tcp": (f"tcp:{number}:interface=127.0.0.1", f"tcp:127.0.0.1:{number}"),
        "tcp6": (rf"tcp6:{number}:interface=\:\:1", rf"tcp:\:\:1:{number}"),
        "unix": (f"unix:{at(tmp_path)}", f"unix:{at(tmp_path)}"),
        "ssl": (
            f"ssl:{number}:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
            f"tcp:127.0.0.1:{number}",
        ),
    }[kind]
    port: Any = Port(reactor=reactor, description=there, factory=greeting)
    port.startService()
    endpoint: Any = clientFromString(reactor, here)
    if kind == "ssl":
        endpoint = wrapClientTLS(CertificateOptions(verify=False), endpoint)
    listeners: list[Any] = [await connectProtocol(endpoint, Listener()) for _ in range(3)]
    assert [await one.all for one in listeners] == [b"hello"] * 3
    await port.stopService()
    assert [isinstance(one, BriefTransport) for one in greeting.transports] == [kind != "ssl"] * 3


@ensureDeferred
async def test_who_has_gone_hears_nothing(tmp_path: Path) -> None:
    """The others are served all the same, and no socket stays."""
    greeting = Greeting(BriefGreeter)
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=greeting)
    port.startService()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(at(tmp_path))
    assert await greeting_at(at(tmp_path)) == b"hello"
    assert len(greeting.transports) == 4
    assert len(os.listdir("/proc/self/fd")) <= before
    await port.stopService()


@ensureDeferred
async def test_a_silent_client_does_not_keep_others_waiting(tmp_path: Path) -> None:
    """What has not come yet is not waited for."""
    greeting = Greeting(Curious)
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=greeting)
    port.startService()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(at(tmp_path))
        assert await greeting_at(at(tmp_path)) == b"hello"
    await port.stopService()


class Curious(BriefGreeter):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        assert transport.peek() == b""
        super().connectionMade()


@ensureDeferred
async def test_what_was_peeked_at_is_read_by_whoever_gets_the_connection(tmp_path: Path) -> None:
    factory = Greeting(Forwarding)
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=factory)
    port.startService()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(at(tmp_path))
        client.sendall(b"good morning")
        heard = Listener()
        factory.successor = heard
        while not heard.said:
            await deferLater(reactor, 0.001)
    assert heard.said == b"good morning"
    assert await heard.all == b"good morning"
    await port.stopService()


class Forwarding(BriefProtocol):
    factory: Any

    def connectionMade(self) -> None:
        transport: Any = self.transport
        assert transport.peek() == b"good morning"
        transport.hand_over(self.factory.successor)


@ensureDeferred
async def test_only_so_many_are_refused_in_one_turn(tmp_path: Path) -> None:
    """Twisted accepts twenty more in each turn as long as others wait."""
    count = 3 * REFUSED_IN_TURN + 100
    greeting = Greeting(BriefGreeter)
    port: Any = Port(reactor=reactor, description=f"unix:{at(tmp_path)}", factory=greeting)
    port.startService()
    in_turns: list[int] = []
    port._port.numberAccepts = REFUSED_IN_TURN
    clients = [socket.socket(socket.AF_UNIX) for _ in range(count)]
    for one in clients:
        one.connect(at(tmp_path))
    while len(greeting.transports) < count:
        before = len(greeting.transports)
        await deferLater(reactor, 0)
        in_turns.append(len(greeting.transports) - before)
    assert max(in_turns) <= REFUSED_IN_TURN + 20
    for one in clients:
        one.close()
    await port.stopService()


@ensureDeferred
async def test_who_has_said_something_is_not_reset(tmp_path: Path) -> None:
    """Of an unread request, the system would make a reset."""
    port: Any = Port(
        reactor=reactor, description="tcp:0:interface=127.0.0.1", factory=Greeting(BriefGreeter)
    )
    port.startService()
    client = socket.create_connection(port._port.socket.getsockname())
    client.sendall(b"good morning" * 1000)
    heard = await deferToThread(read_all, client)
    assert heard == b"hello"
    await port.stopService()


def read_all(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(100), b""))
