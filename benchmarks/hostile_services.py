"""Stand-ins of the other services that are hostile about some people, as they are told.

The Identity Store, the Message Sender and the Scheduler are one process, at three ports. People
whose identity begins with ``HOSTILE`` get what ``ATTACKS`` names; all others get good answers, and
the arrivals of their outbounds are remembered. The Scheduler is hostile to everybody.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen

from benchmarks.processes import client, free_port, when_told

HOSTILE = "eeeeeeee-"

_PIECE = 64 * 1024


def _answer(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


_OBJECTS = b'{"id":"1","next":null,"results":[' + b"{}," * (1_300_000) + b"{}]}"
# As long as an answer about one thing may be.
_PACKED = gzip.compress(bytes(16 * 2**20), 9) * 3
_LONG = b"a" * 3_000_000
_TERMINAL = (
    b"\x1b]0;away\x07\x1b[2J\r\n2026-11-28T00:00:00+0000 [-] all is well\xc2\x9b2J\xe2\x80\xae"
)


def _endless(first: bytes, piece: bytes) -> Iterator[bytes]:
    return chain([first], repeat(piece * (_PIECE // len(piece))))


# What is sent as an answer, by the name of the attack.
ATTACKS: dict[str, Any] = {
    "48 MiB in gzip": lambda: [_answer(_PACKED, b"Content-Encoding: gzip\r\n")],
    "headers without end": lambda: _endless(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n"),
    "one header without end": lambda: _endless(b"HTTP/1.1 200 OK\r\na:", b"b"),
    "100 Continue without end": lambda: _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "tiny chunks without end": lambda: _endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"
    ),
    "an error without end": lambda: _endless(b"HTTP/1.1 500 No\r\n\r\n", b"<p>"),
    "3.9 MB of {}": lambda: [_answer(_OBJECTS)],
    "ids of 3 MB": lambda: [
        _answer(b'{"id":"%b","next":null,"results":[{"address":"%b"}]}' % (_LONG, _LONG))
    ],
    "escape sequences": lambda: [_answer(_TERMINAL)],
    "pages without end": None,
}


@define(eq=False)
class Services:
    """What the services are told, and what has arrived."""

    attack: str = "escape sequences"
    hostile_answers: int = 0
    asked_about: str = HOSTILE
    arrivals: dict[str, float] = field(factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, url, _ = head.split(" ", 2)
                length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                for piece in self._pieces(method, url, body):
                    writer.write(piece)
                    await writer.drain()
        writer.close()

    def _pieces(self, method: str, url: str, body: bytes) -> Any:
        path = urlsplit(url).path
        if path == "/attack":
            self.attack = parse_qs(urlsplit(url).query)["name"][0]
            return [_answer(b"{}")]
        if path == "/records":
            told = {"hostile_answers": self.hostile_answers, "arrivals": self.arrivals}
            return [_answer(json.dumps(told).encode())]
        if "/schedule/" in path or HOSTILE in url or HOSTILE.encode() in body:
            return self._hostile(method, path, parse_qs(urlsplit(url).query))
        if method == "POST":
            self.arrivals[json.loads(body)["to_identity"]] = time.monotonic()
            return [_answer(b'{"id":"%d"}' % len(self.arrivals))]
        if "/identities/" in path:
            return [_answer(b'{"next":null,"results":[{"address":"+27820000001"}]}')]
        return [_answer(b'{"next":null,"previous":null,"results":[]}')]

    def _hostile(self, method: str, path: str, query: dict[str, list[str]]) -> Any:
        self.hostile_answers += 1
        if self.attack != "pages without end":
            return ATTACKS[self.attack]()
        if "/identities/" in path:
            return [_answer(b'{"next":null,"results":[{"address":"+27820000001"}]}')]
        if method == "POST":
            return [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]  # which may have stored it
        # The rows are about whom the question is about, as far as the next page does not show.
        self.asked_about = query.get("to_identity", [self.asked_about])[0]
        return [_answer(_page(self.hostile_answers, self.asked_about))]


def _page(number: int, identity: str) -> bytes:
    """A page of 3 MB, with a link to one that was never read."""
    row = {
        "id": f"id-{number}",
        "to_identity": identity,
        "metadata": {"sbm_send_id": "x" * 2800},
        "created_at": "2026-11-28T00:00:00Z",
        "endpoint": "http://sbm/",
        "cron_definition": "0 8 * * *",
        "auth_token": None,
        "enabled": True,
    }
    return json.dumps({"next": f"http://x/?cursor={number}", "results": [row] * 1000}).encode()


@frozen(eq=False, kw_only=True)
class HostileServices:
    """The process, as the benchmark sees it."""

    identity_store: str
    message_sender: str
    scheduler: str

    def environment(self) -> dict[str, str]:
        """The settings of a daemon that uses them."""
        return {
            "IDENTITY_STORE_URL": self.identity_store,
            "IDENTITY_STORE_TOKEN": "i",
            "MESSAGE_SENDER_URL": self.message_sender,
            "MESSAGE_SENDER_TOKEN": "m",
            "SBM_SCHEDULING": "schedule",
            "SCHEDULER_URL": self.scheduler,
            "SCHEDULER_API_TOKEN": "s",
            "SCHEDULER_INBOUND_API_TOKEN": "c" * 40,
        }

    def begin(self, attack: str) -> None:
        """Let them attack in this way from now on."""
        self._asked(f"/attack?name={urllib.request.quote(attack)}")  # type: ignore[attr-defined]

    def records(self) -> dict[str, Any]:
        """How many hostile answers there were, and when which outbounds arrived."""
        found: dict[str, Any] = self._asked("/records")
        return found

    def _asked(self, path: str) -> Any:
        root = self.message_sender.removesuffix("/api/v1")
        with urllib.request.urlopen(root + path, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def hostile_services(folder: Path) -> Iterator[HostileServices]:
    """Run them."""
    ports = [free_port() for _ in range(3)]
    with client("hostile_services", *ports, folder=folder):
        identity_store, message_sender, scheduler = (
            f"http://127.0.0.1:{port}/api/v1" for port in ports
        )
        yield HostileServices(
            identity_store=identity_store, message_sender=message_sender, scheduler=scheduler
        )


async def _serve(ports: list[int]) -> None:
    services = Services()
    for port in ports:
        await asyncio.start_server(services.serve, "127.0.0.1", port)
    await asyncio.to_thread(when_told, lambda: "")


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", type=int, nargs=3)
    asyncio.run(_serve(parser.parse_args().ports))


if __name__ == "__main__":
    main()
