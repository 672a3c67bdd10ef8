"""Ports at which a service listens."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

# So many new connections may wait until they are accepted. Twisted has 50: in a flood, the system
# dropped others, and their clients tried again after a second, or after three.
BACKLOG = 4096
# After a refusal, a turn of the reactor accepts at most twenty connections more than these.
REFUSED_IN_TURN = 180
# So many bytes of a request are looked at to recognise it.
PEEKED_BYTES = 64
# So many bytes of a refused request are read before its connection is closed.
DROPPED_BYTES = 2**16
# The kinds of endpoints that have a backlog.
_WITH_BACKLOG = frozenset({"tcp", "tcp6", "ssl", "unix"})


class CannotListen(SystemExit):
    """The port cannot be opened. Nothing was started; the process ends with this message."""


def _with_backlog(description: str) -> str:
    kind = description.partition(":")[0]
    if kind not in _WITH_BACKLOG or ":backlog=" in description:
        return description
    return f"{description}:backlog={BACKLOG}"


@define(eq=False, slots=False, kw_only=True)
class Port(Service):
    """Listens at a Twisted endpoint description, before the process gives up its privileges.

    Unlike Twisted's own service for endpoints, it raises CannotListen instead of logging.
    """

    _reactor: Any
    _description: str
    _factory: Any
    _port: IListeningPort | None = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        refusals: list[Failure] = []
        try:
            endpoint = serverFromString(self._reactor, _with_backlog(self._description))
        except Exception as error:  # each kind of endpoint raises other errors
            refusals.append(Failure(error))
        else:
            endpoint.listen(self._factory).addCallbacks(self._listens, refusals.append)
        for refusal in refusals:
            raise CannotListen(f"sbm cannot listen at {self._description}: {refusal.value}")

    def startService(self) -> None:
        Service.startService(self)
        if self._port is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        port: Any
        port, self._port = self._port, None
        closed = None if port is None else port.stopListening()
        if closed is not None:
            await closed

    def _listens(self, port: IListeningPort) -> None:
        self._port = port
        if isinstance(port, tcp.Port):
            port.transport = partial(_transport, port.transport)  # type: ignore[assignment]


class BriefProtocol(Protocol):
    """Writes something short as soon as it is connected, closes, and reads nothing.

    A Port gives it a BriefTransport, unless there is TLS: in a flood, each turn of the reactor has
    hundreds of them, and a transport of Twisted costs five times as much.
    """


@define(eq=False, kw_only=True)
class BriefTransport:
    """The transport of a BriefProtocol: a new socket, which the reactor does not know.

    ``_usual`` makes the transport that another protocol would have.
    """

    _socket: socket.socket
    _usual: Callable[[Any], Any]

    def peek(self) -> bytes:
        """What has come at its beginning; this can be read again."""
        with suppress(OSError):
            return self._socket.recv(PEEKED_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return b""

    def hand_over(self, protocol: Any) -> None:
        """Let this protocol have the connection, with a usual transport."""
        protocol.makeConnection(self._usual(protocol))

    def write(self, data: bytes) -> None:
        """Send it now: a new socket takes some kilobytes. The client may have gone already."""
        with suppress(OSError):
            self._socket.send(data, socket.MSG_DONTWAIT)

    def loseConnection(self) -> None:
        """Close the socket; the system sends what was written.

        If something were left unread, the system would reset the connection, and the client might
        not see what was written. So some of it is read.
        """
        with suppress(OSError):
            self._socket.recv(DROPPED_BYTES, socket.MSG_DONTWAIT)
        self._socket.close()


def _transport(
    usual: Callable[..., Any],
    sock: socket.socket,
    protocol: Any,
    address: Any,
    port: tcp.Port,
    *others: Any,
) -> Any:
    """The transport of a new connection."""
    if isinstance(protocol, BriefProtocol):
        # Twisted would accept more in each turn, until all that wait are accepted in one.
        port.numberAccepts = min(port.numberAccepts, REFUSED_IN_TURN)
        return BriefTransport(
            socket=sock, usual=lambda other: usual(sock, other, address, port, *others)
        )
    return usual(sock, protocol, address, port, *others)
