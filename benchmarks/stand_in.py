"""Stand-ins of the Identity Store and the Message Sender that cost nearly nothing.

Both are one process, at two ports. Each request is answered with prepared bytes: everybody has the
same address, and each outbound gets the next number as its id. It counts what it has answered. The
arrivals of outbounds to ``OBSERVED`` identities are remembered one by one. At another path, the
Message Sender refuses outbounds to one identity in ``SHARE``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httptools
from attrs import asdict, define, field, frozen

from benchmarks.processes import Process, client, free_port, when_told

# The identities of single sends, whose arrivals are measured, begin with this.
OBSERVED = "ffffffff-"
_OBSERVED = f'"to_identity":"{OBSERVED}'.encode("ascii")


# Of the Message Sender that refuses some outbounds, before the status of its refusals.
_REFUSING = b"/refusing/"
SHARE = 20


def is_refused(identity: str) -> bool:
    """Whether outbounds to this identity are refused, if any are."""
    return int(identity[-12:], 16) % SHARE == 0


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_ADDRESS = _answer(
    b'{"count":1,"next":null,"previous":null,"results":[{"address":"+27820000001"}]}'
)
_NONE_FOUND = _answer(b'{"next":null,"previous":null,"results":[]}')


@define(eq=False)
class Records:
    """What has been answered until now; times are those of the machine's monotonic clock."""

    lookups: int = 0
    outbounds: int = 0
    first_outbound_at: float | None = None
    last_outbound_at: float | None = None
    arrivals: dict[str, float] = field(factory=dict)

    def stored(self, body: bytes) -> bytes:
        """Count an outbound; returns the answer."""
        now = time.monotonic()
        self.outbounds += 1
        self.last_outbound_at = now
        if self.first_outbound_at is None:
            self.first_outbound_at = now
        if _OBSERVED in body:
            self.arrivals.setdefault(json.loads(body)["to_identity"], now)
        return _answer(b'{"id":"%d"}' % self.outbounds, b"201 Created")


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, records: Records, delay: float) -> None:
        self._records, self._delay = records, delay
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Remember the URL, which comes in one piece or in several."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """Remember the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        answer = self._answered(self._parser.get_method(), self._url, self._body)
        self._url = self._body = b""
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _answered(self, method: bytes, url: bytes, body: bytes) -> bytes:
        if method == b"POST":
            if url.startswith(_REFUSING) and is_refused(json.loads(body)["to_identity"]):
                status = url.removeprefix(_REFUSING).partition(b"/")[0]
                return _answer(b"<h1>no</h1>", status + b" Refused")
            return self._records.stored(body)
        if url.startswith(b"/api/v1/identities/"):
            self._records.lookups += 1
            return _ADDRESS
        return _NONE_FOUND if url.startswith(b"/api/v1/outbound/") else self._told(url)

    def _told(self, url: bytes) -> bytes:
        """The records, for the benchmark; ``/restart`` begins new ones for times and arrivals."""
        records = self._records
        answer = _answer(json.dumps(asdict(records)).encode("ascii"))
        if url == b"/restart":
            records.first_outbound_at = None
            records.arrivals = {}
        return answer


@frozen(eq=False, kw_only=True)
class StandIn:
    """The process of the stand-ins, as the benchmark sees it."""

    process: Process
    identity_store: str
    message_sender: str

    def environment(self) -> dict[str, str]:
        """The settings of a daemon that uses them."""
        return {
            "IDENTITY_STORE_URL": self.identity_store,
            "IDENTITY_STORE_TOKEN": "i",
            "MESSAGE_SENDER_URL": self.message_sender,
            "MESSAGE_SENDER_TOKEN": "m",
        }

    def refusing(self, status: int) -> str:
        """The URL of the Message Sender that refuses some outbounds with this status."""
        root = self.message_sender.removesuffix("/api/v1")
        return f"{root}{_REFUSING.decode('ascii')}{status}"

    def records(self) -> Records:
        """What it has answered until now."""
        return self._asked("/records")

    def restart(self) -> Records:
        """The records; the first outbound and the arrivals after this are new ones."""
        return self._asked("/restart")

    def _asked(self, path: str) -> Records:
        url = self.message_sender.removesuffix("/api/v1") + path
        with urllib.request.urlopen(url, timeout=60) as answer:
            return Records(**json.load(answer))


@contextmanager
def stand_in(folder: Path, *, delay: float = 0.0) -> Iterator[StandIn]:
    """Run the stand-ins; each answer comes ``delay`` seconds late."""
    ports = free_port(), free_port()
    with client("stand_in", *ports, "--delay", delay, folder=folder) as made:
        identity_store, message_sender = (f"http://127.0.0.1:{port}/api/v1" for port in ports)
        yield StandIn(
            process=made.process, identity_store=identity_store, message_sender=message_sender
        )


async def _serve(ports: list[int], delay: float) -> None:
    records = Records()
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda: Connection(records, delay), "127.0.0.1", port)
    # The process ends with a signal.
    await asyncio.to_thread(when_told, lambda: "")


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ports", type=int, nargs=2)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(_serve(options.ports, options.delay))


if __name__ == "__main__":
    main()
