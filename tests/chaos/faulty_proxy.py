"""A proxy between a daemon and the services that it needs, with faults on demand."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any

from attrs import define, field, frozen

# With this, closing a socket sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


@frozen(kw_only=True)
class Mode:
    """The fault of a share of the connections; ``seconds`` is how long bytes are held back.

    delay: bytes come later. truncate: half of an answer comes, then the end. swallow: requests
    arrive and answers do not. black-hole: nothing arrives, and nobody is told. refuse: nobody
    listens, and every line is reset. What has lost bytes is reset when the mode ends.
    """

    kind: str = "pass"
    share: float = 1.0
    seconds: float = 0.0


PASS = Mode()
CUTTING = ("black-hole", "swallow", "truncate", "delay", "refuse")

# The address of the other end: the path of a socket, or host and port.
Target = str | tuple[str, int]


@define(eq=False)
class ProxyThread:
    """The thread that the proxies run in."""

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    thread: Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the thread, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def stop(self) -> None:
        """End the thread, with everything that runs in it."""
        self.run(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@define(eq=False)
class FaultyProxy:
    """Listens on a port of its own; ``target`` is looked up again for each connection."""

    wires: ProxyThread
    port: int
    target: Callable[[], Target]
    mode: Mode = PASS
    lines: set[ProxiedConnection] = field(factory=set)
    _server: asyncio.Server | None = None

    def open(self) -> None:
        """Begin to listen."""
        self.wires.run(self._listen())

    def close(self) -> None:
        """Stop listening, and reset every connection."""
        self.wires.run(self._close())

    def set(self, mode: Mode) -> None:
        """Change the mode; PASS ends the fault."""
        self.wires.run(self._set(mode))

    def reset(self, share: float = 1.0) -> None:
        """Reset a share of the connections, now."""
        self.wires.run(self._reset(share))

    def freeze(self, share: float = 1.0) -> None:
        """Pass nothing more on a share of the present connections, as after a failover."""
        self.wires.run(self._freeze(share))

    async def _listen(self) -> None:
        while self._server is None:
            with suppress(OSError):  # for a moment another process may use the port
                self._server = await asyncio.start_server(
                    self._accept, "127.0.0.1", self.port, backlog=256
                )
                return
            await asyncio.sleep(0.1)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._reset(1.0)

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        for line in list(self.lines):
            if line.is_torn and not line.is_frozen:
                line.reset()
        if mode.kind == "refuse":
            await self._close()
        elif self._server is None:
            await self._listen()

    async def _reset(self, share: float) -> None:
        for line in list(self.lines):
            if random.random() < share:
                line.reset()

    async def _freeze(self, share: float) -> None:
        for line in self.lines:
            line.is_frozen = line.is_frozen or random.random() < share

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = ProxiedConnection(self, reader, writer)
        self.lines.add(line)
        try:
            with suppress(asyncio.CancelledError):  # which asyncio would take for an error
                await line.run()
        finally:
            self.lines.discard(line)
            line.reset()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the other end."""
        target = self.target()
        if isinstance(target, str):
            return await asyncio.open_unix_connection(target)
        return await asyncio.open_connection(*target)


@define(eq=False)
class ProxiedConnection:
    """One client, and its connection to the other end."""

    proxy: FaultyProxy
    client_reader: asyncio.StreamReader
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    luck: float = field(factory=random.random)
    is_frozen: bool = False
    loses_requests: bool = False
    loses_answers: bool = False

    @property
    def is_torn(self) -> bool:
        """Whether bytes are missing, so that the following bytes would be garbled."""
        return self.loses_requests or self.loses_answers

    @property
    def ill(self) -> str:
        """The fault of this connection at this moment."""
        if self.is_frozen:
            return "black-hole"
        return self.proxy.mode.kind if self.luck < self.proxy.mode.share else "pass"

    @property
    def _is_cut(self) -> bool:
        if self.is_frozen:
            return not self.client_reader.at_eof()
        return self.ill == "black-hole"

    async def run(self) -> None:
        """Pass bytes on, until either end has closed."""
        with suppress(OSError):
            server_reader, self.server = await self.proxy.connect()
            ways = {
                asyncio.ensure_future(self._requests(self.client_reader, self.server)),
                asyncio.ensure_future(self._answers(server_reader)),
            }
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                while self._is_cut:
                    await asyncio.sleep(0.05)  # and no end learns that the other one has closed
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            self._end()

    def reset(self) -> None:
        """Close it at once, at both ends."""
        for writer in filter(None, (self.client, self.server)):
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
                writer.transport.abort()

    def _end(self) -> None:
        for writer in filter(None, (self.client, self.server)):
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if self.ill == "delay":
                    # The client may be gone when they arrive.
                    await asyncio.sleep(self.proxy.mode.seconds)
                if self.ill == "black-hole":
                    self.loses_requests = True
                if not self.loses_requests:
                    writer.write(data)
                    await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if self.ill == "delay":
                    await asyncio.sleep(self.proxy.mode.seconds)
                if self.ill in ("black-hole", "swallow"):
                    self.loses_answers = True
                elif self.ill == "truncate" and len(data) > 1:
                    self.client.write(data[: random.randrange(1, len(data))])
                    await self.client.drain()
                    return
                if not self.loses_answers:
                    self.client.write(data)
                    await self.client.drain()
