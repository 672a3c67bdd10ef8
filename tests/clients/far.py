"""A server on loopback that says exactly what a test wants, and a reactor with a clock by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import directlyProvides, providedBy

from sbm.settings.endpoints import ServiceAddress

reactor: Any = _reactor


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer, as bytes on the wire."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@frozen(kw_only=True)
class Received:
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Line(Protocol):
    """One connection to the server; what is said on it is decided by the server's ``reply``."""

    far: Far
    unread: bytes = b""
    closed: Deferred[type[BaseException]] = field(factory=Deferred)
    transport: Any = None

    def connectionMade(self) -> None:
        self.far.lines.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.unread += data
        self.far.size += len(data)
        request = self._take()
        if request is not None:
            self.far.requests.append(request)
            self.far.reply(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(reason.type)

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.transport.write(part)

    def hang_up(self, *parts: bytes) -> None:
        self.say(*parts)
        self.transport.loseConnection()

    def _take(self) -> Received | None:
        head, end, rest = self.unread.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        if not end or len(rest) < length:
            return None
        self.unread = rest[length:]
        method, target, _ = first.split(" ")
        return Received(method=method, target=target, headers=headers, body=rest[:length])


@define(eq=False)
class Far(Factory):
    """The server; it listens on 127.0.0.1."""

    reply: Callable[[Line], object] = field(default=lambda line: None)
    lines: list[Line] = field(factory=list)
    requests: list[Received] = field(factory=list)
    size: int = 0
    asked: Deferred[None] = field(factory=Deferred)
    port: Any = None
    noisy = False

    def buildProtocol(self, addr: Any) -> Line:
        return Line(self)

    def says(self, *parts: bytes) -> None:
        """Answer every request with these bytes, and keep the connection."""
        self.reply = lambda line: line.say(*parts)

    def only(self, request: Callable[[Received], object]) -> Any:
        """Something of the only request there was."""
        (received,) = self.requests
        return request(received)

    def open(self) -> None:
        self.port = reactor.listenTCP(0, self, interface="127.0.0.1")

    async def close(self) -> None:
        port, self.port = self.port, None
        if port is not None:
            await port.stopListening()
        for line in self.lines:
            if not line.closed.called:
                line.transport.abortConnection()
                await line.closed

    def address(self, scheme: str = "http") -> ServiceAddress:
        url = f"{scheme}://127.0.0.1:{self.port.getHost().port}/api/v1"
        return ServiceAddress(url=url, token="the-token")


class ManualReactor:
    """The reactor, except that its timers go off when the test advances ``clock``."""

    def __init__(self) -> None:
        self.clock = Clock()
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def callLater(self, *args: Any, **kwargs: Any) -> Any:
        return self.clock.callLater(*args, **kwargs)

    def seconds(self) -> float:
        return float(self.clock.seconds())
