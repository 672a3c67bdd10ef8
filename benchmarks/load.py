"""Requests to an HTTP API over kept connections: as fast as they are answered, or at a pace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import httptools
from attrs import define, field, frozen

from benchmarks.content import HEADERS

_PATIENCE_SECONDS = 60.0


def written(method: str, path: str, body: Any = None) -> bytes:
    """A request in the bytes that are sent."""
    data = b"" if body is None else json.dumps(body).encode("utf-8")
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    if method == "POST":
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + data


class Exchanges(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._parser: Any = None
        self._body = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer"))

    @property
    def is_open(self) -> bool:
        """Whether another request can be made."""
        return not self._transport.is_closing()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Make a request; returns the status and the body of the answer."""
        self._parser, self._body = httptools.HttpResponseParser(self), b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Remember a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Return the answer to the caller."""
        assert self._answer is not None
        self._answer.set_result((self._parser.get_status_code(), self._body))


@define(eq=False)
class Api:
    """The API at a port of this machine; a request gets an idle connection, or else a new one."""

    port: int
    _idle: list[Exchanges] = field(factory=list)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Make a request; returns the status and the body of the answer."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                break
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Exchanges, "127.0.0.1", self.port)
        answer = await connection.ask(request)
        self._idle.append(connection)
        return answer


def as_fast_as_answered(port: int, requests: Iterable[bytes], connections: int) -> list[int]:
    """Make all requests over so many connections; returns the statuses."""
    return asyncio.run(_as_fast_as_answered(Api(port), iter(requests), connections))


async def _as_fast_as_answered(api: Api, requests: Iterator[bytes], connections: int) -> list[int]:
    statuses: list[int] = []

    async def some() -> None:
        for request in requests:
            statuses.append((await api.ask(request))[0])

    await asyncio.gather(*(some() for _ in range(connections)))
    return statuses


@frozen(kw_only=True)
class Sample:
    """One request of an open loop: when it was due, and the seconds from then to its answer.

    The status is 0 if there was no answer.
    """

    due_at: float
    seconds: float
    status: int


async def at_pace(
    ask: Callable[[float], Awaitable[int]], *, pace: float, seconds: float
) -> list[Sample]:
    """Begin ``pace`` requests each second, however long the answers take; returns all of them.

    ``ask`` gets the moment at which its request is due, and returns the status. The time of each
    request counts from the moment at which it was due, even if it began late.
    """
    began = time.monotonic()

    async def one(due_at: float) -> Sample:
        await asyncio.sleep(due_at - time.monotonic())
        try:
            status = await asyncio.wait_for(ask(due_at), _PATIENCE_SECONDS)
        except (OSError, asyncio.TimeoutError):
            status = 0
        return Sample(due_at=due_at, seconds=time.monotonic() - due_at, status=status)

    due = [began + number / pace for number in range(int(pace * seconds))]
    return list(await asyncio.gather(*(one(moment) for moment in due)))


def percentile(seconds: Iterable[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
