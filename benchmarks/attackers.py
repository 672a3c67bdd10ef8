"""A process with the connections of hostile clients, which attack a daemon when it is told to.

The addresses of the clients are 127.0.1.1 and following. The process is nice: it takes the time of
a core that is left by the daemon, and by the process that measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import httptools
from attrs import define, field, frozen

from benchmarks.processes import when_told

_NICENESS = 10


class HostileLine(asyncio.Protocol):
    """One connection: counts the answers by their status, and the ends without an answer."""

    def __init__(self, counts: Counter[str]) -> None:
        self.transport: Any = None
        self.is_lost = False
        self._counts = counts
        self._parser: Any = httptools.HttpResponseParser(self)
        self._owed = 0
        self._changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._owed > 0:
            self._counts["reset" if exc else "closed without an answer"] += 1
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._counts["unreadable answer"] += 1
            self.transport.abort()

    def on_message_complete(self) -> None:
        """Count an answer; the interim ones are none."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._counts[str(status)] += 1
            self._owed -= 1
            if not self._parser.should_keep_alive():
                self.end()
            self._changed.set()

    def send(self, data: bytes, *, requests: int = 1) -> None:
        """Write the bytes of so many requests."""
        self._counts["requests"] += requests
        self._owed += requests
        self.transport.write(data)

    def end(self) -> None:
        """Close at once; what is still owed does not count."""
        self._owed, self.is_lost = 0, True
        self.transport.abort()

    async def answered(self, *, seconds: float | None = None) -> bool:
        """Wait for all answers, or the end; returns whether they came within the time."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._answered(), seconds)
        return self._owed <= 0 or self.is_lost

    async def _answered(self) -> None:
        while self._owed > 0 and not self.is_lost:
            self._changed.clear()
            await self._changed.wait()


Connect = Callable[[], Awaitable[HostileLine]]
# What one client does with a connection, until the connection ends or is not needed any more.
Play = Callable[[HostileLine, Iterator[int]], Awaitable[None]]


def ask(made: Callable[[int], bytes], *, at_once: int = 1) -> Play:
    """Make requests, and wait for their answers; ``at_once`` are written in one piece."""

    async def play(line: HostileLine, numbers: Iterator[int]) -> None:
        while not line.is_lost:
            line.send(b"".join(made(next(numbers)) for _ in range(at_once)), requests=at_once)
            await line.answered()

    return play


def ask_once(made: Callable[[int], bytes]) -> Play:
    """Make one request over each connection."""

    async def play(line: HostileLine, numbers: Iterator[int]) -> None:
        line.send(made(next(numbers)))
        await line.answered(seconds=5.0)

    return play


def drip(begin: bytes, piece: bytes, *, pause: float) -> Play:
    """Begin a request, and add a piece after each pause, without end."""

    async def play(line: HostileLine, _numbers: Iterator[int]) -> None:
        line.send(begin)
        while not await line.answered(seconds=pause):
            line.transport.write(piece)

    return play


def pour(begin: bytes, piece: bytes) -> Play:
    """Begin a request, and add pieces without end, as fast as they are taken."""

    async def play(line: HostileLine, _numbers: Iterator[int]) -> None:
        line.transport.set_write_buffer_limits(high=0)
        line.send(begin)
        while not await line.answered(seconds=0.001):
            if line.transport.get_write_buffer_size() == 0:
                line.transport.write(piece)

    return play


def read_nothing(made: Callable[[int], bytes], *, at_once: int = 1) -> Play:
    """Make requests, and read no answer."""

    async def play(line: HostileLine, numbers: Iterator[int]) -> None:
        line.transport.pause_reading()
        line.send(b"".join(made(next(numbers)) for _ in range(at_once)), requests=at_once)
        await line.answered()

    return play


async def say_nothing(line: HostileLine, _numbers: Iterator[int]) -> None:
    """Keep a connection without a request."""
    while not line.is_lost:
        await asyncio.sleep(0.2)


@frozen(kw_only=True)
class Attack:
    """What so many clients do at once; a connection that has ended is followed by another one."""

    play: Play
    clients: int = 50


@define(eq=False, kw_only=True)
class Attackers:
    """The clients of one attack; they have so many ``addresses``."""

    port: int
    attack: Attack
    addresses: int
    counts: Counter[str] = field(factory=Counter)

    async def run(self, seconds: float) -> None:
        """Attack for so long."""
        numbers = count()
        clients = [
            asyncio.create_task(self._client(f"127.0.1.{1 + number % self.addresses}", numbers))
            for number in range(self.attack.clients)
        ]
        _, going_on = await asyncio.wait(clients, timeout=seconds)
        while going_on:  # a client that waits with a timeout may miss a cancellation
            for one in going_on:
                one.cancel()
            _, going_on = await asyncio.wait(going_on, timeout=0.5)
        for one in clients:
            if not one.cancelled():
                one.result()

    async def _client(self, address: str, numbers: Iterator[int]) -> None:
        while True:
            try:
                line = await self._connected(address)
            except OSError:
                self.counts["not connected"] += 1
                await asyncio.sleep(0.1)
                continue
            try:
                await self.attack.play(line, numbers)
            finally:
                line.end()
            await asyncio.sleep(0)

    async def _connected(self, address: str) -> HostileLine:
        loop = asyncio.get_running_loop()
        one = socket.socket()
        try:
            one.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            one.bind((address, 0))
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", self.port))
            _, line = await loop.create_connection(lambda: HostileLine(self.counts), sock=one)
        except BaseException:
            one.close()
            raise
        return line


def serve(attacks: dict[str, Attack]) -> None:
    """Be such a process, for the attack that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("attack", choices=attacks)
    parser.add_argument("addresses", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    os.nice(_NICENESS)

    def work() -> str:
        attackers = Attackers(
            port=options.port, attack=attacks[options.attack], addresses=options.addresses
        )
        asyncio.run(attackers.run(options.seconds))
        return json.dumps(attackers.counts)

    when_told(work)
