"""A client that sends just what it is told to, byte by byte."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from tests.web.conftest import Api, reactor

# Others may need all of the machine for a while.
PATIENCE_SECONDS = 60.0

BOUNDARY = "BOUND"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


class RawConnection(Protocol):
    """Sends bytes, and collects what comes until the other side hangs up."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.is_over = False
        self._waiting: list[tuple[Callable[[], bool], Deferred[bytes]]] = []

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def send_no_more(self) -> None:
        """Close one direction alone, as ``shutdown`` does."""
        self.transport.loseWriteConnection()

    def hang_up(self) -> None:
        self.transport.abortConnection()

    async def until(self, wanted: bytes, times: int = 1) -> bytes:
        """What has come when these bytes have (so often), or when it is over."""
        return await self._when(lambda: self.is_over or self.received.count(wanted) >= times)

    async def rest(self) -> bytes:
        """All that came, once the other side has hung up."""
        return await self._when(lambda: self.is_over)

    async def answer(self) -> tuple[int, Any]:
        """Status and JSON of the only answer, once the other side has hung up."""
        head, _, body = (await self.rest()).partition(b"\r\n\r\n")
        assert b"\r\nContent-Type: application/json" in head, head
        return int(head.split(b" ")[1]), json.loads(body)

    def _when(self, condition: Callable[[], bool]) -> Deferred[bytes]:
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def _look(self) -> None:
        for condition, waiting in list(self._waiting):
            if condition():
                self._waiting.remove((condition, waiting))
                waiting.callback(self.received)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: object = None) -> None:
        self.is_over = True
        self._look()


async def comes_true(condition: Callable[[], bool]) -> None:
    """Let others do their work until it is; fails if it never is."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await deferLater(reactor, 0)


async def connected(api: Api) -> RawConnection:
    """A conversation of which nothing has been said yet."""
    conversation = RawConnection()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", api.port)
    await connectProtocol(endpoint, conversation)
    return conversation


async def asked(api: Api, sent: bytes) -> RawConnection:
    """A conversation that begins with these bytes."""
    conversation = await connected(api)
    conversation.send(sent)
    return conversation


def head(api: Api, line: str, *headers: str, token: str | None = None) -> bytes:
    """The start of a request, up to its body."""
    lines = [f"{line} HTTP/1.1", "Host: h", f"Authorization: Token {token or api.token}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def form(
    content: bytes, name: str = "a.png", *, part: str = "content", before: bytes = b""
) -> bytes:
    """A multipart form with a file, and with whatever comes before it."""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="{name}"'
    return (
        before
        + start.encode("utf-8")
        + b"\r\nContent-Type: image/png\r\n\r\n"
        + content
        + f"\r\n--{BOUNDARY}--\r\n".encode("ascii")
    )


def text_part(name: str, value: str) -> bytes:
    """A part of a form that is a text."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n{value}\r\n".encode()
