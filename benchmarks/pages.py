"""How long does a page of 1,000 subscriptions block the reactor?

One side is the API as it is: rows are read and written in time slices. The second side is the same
API with slices that never end, so that each step (reading, writing) is done at once. The third side
is a page of one row. A function that runs in each iteration of the reactor measures how long the
reactor was blocked, in processor time of its thread, so that other work of the machine does not
count. The daemon is in the process of the benchmark, and the client is a process of its own. The
sides take turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.utils import getProcessValue

from benchmarks.content import HEADERS, add_many_sets, add_user, analyse
from benchmarks.processes import free_port
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.server import connected, server
from sbm.daemon import assemble
from sbm.runtime import time_slices
from sbm.settings.config import Config

SUBSCRIPTIONS = 5000


@define(eq=False)
class Pulse:
    """Runs once in each iteration of the reactor, and records the time between two of them."""

    reactor: Any
    holds: list[float] = field(factory=list)
    _beats: bool = False
    _last: float = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self.holds.clear()
        self._beats, self._last = True, time.thread_time()
        self._beat()

    def stop(self) -> None:
        """Stop measuring."""
        self._beats = False

    def _beat(self) -> None:
        now = time.thread_time()
        self.holds.append(now - self._last)
        self._last = now
        if self._beats:
            self.reactor.callLater(0, self._beat)


async def held(reactor: Any, pulse: Pulse, url: str, requests: int) -> float:
    """The longest time that the reactor was blocked while another process reads a page."""
    pulse.start()
    asked = ["-c", f"from benchmarks.pages import ask; ask({url!r}, {requests})"]
    status = await getProcessValue(sys.executable, asked, env=os.environ, reactor=reactor)
    pulse.stop()
    assert status == 0, f"the client failed for {url}"
    return max(pulse.holds)


def ask(url: str, requests: int) -> None:
    """Read a page again and again, as the client."""
    for _ in range(requests):
        with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS)) as answer:
            answer.read()


def daemon(reactor: Any, uri: str) -> tuple[Any, str]:
    """The daemon for this database, not started, and the URL of its list of subscriptions."""
    port = free_port()
    environ = {
        "IDENTITY_STORE_URL": "http://127.0.0.1:9",
        "IDENTITY_STORE_TOKEN": "i",
        "MESSAGE_SENDER_URL": "http://127.0.0.1:9",
        "MESSAGE_SENDER_TOKEN": "m",
        "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
    }
    config = Config.from_environ(environ, database=uri)
    service = assemble(config, reactor, listen=[f"tcp:{port}:interface=127.0.0.1"])
    return service, f"http://127.0.0.1:{port}/api/v1/subscriptions/"


async def take_turns(reactor: Any, options: argparse.Namespace, uri: str) -> dict[str, list[float]]:
    """The longest time of each side in each round, in milliseconds."""
    service, url = daemon(reactor, uri)
    service.startService()
    pulse = Pulse(reactor)
    await held(reactor, pulse, url, 3)
    # As `twistd sbm` does; otherwise the garbage collector blocks the reactor for longer.
    gc.collect()
    gc.freeze()
    usual = time_slices.SECONDS
    sides: dict[str, list[float]] = {"one row": [], "in slices": [], "at once": []}
    for number in range(options.rounds):
        for name, limit, seconds in (
            ("one row", 1, usual),
            ("in slices", 1000, usual),
            ("at once", 1000, 3600.0),
        ):
            time_slices.SECONDS = seconds
            longest = await held(reactor, pulse, f"{url}?limit={limit}", options.requests)
            sides[name].append(longest * 1000)
        time_slices.SECONDS = usual
        figures = ", ".join(f"{name} {found[-1]:.1f} ms" for name, found in sides.items())
        print(f"round {number + 1}: reactor blocked for at most: {figures}", flush=True)
    await service.stopService()
    return sides


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure all sides in turn."""
    found: dict[str, list[float]] = {}
    with server(folder) as postgres, postgres.database() as uri:
        about["PostgreSQL"] = postgres.about()
        with connected(uri) as cursor:
            add_user(cursor)
            add_many_sets(cursor, SUBSCRIPTIONS)
            analyse(cursor)

        async def run(reactor: Any) -> None:
            found.update(await take_turns(reactor, options, uri))

        try:
            react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
        except SystemExit as ended:
            if ended.code:
                raise
    return [
        Figure(
            name=f"reactor blocked by 1,000 rows {name} ÷ by one row",
            unit="ms",
            ours=found[name],
            theirs=found["one row"],
            goal="≤ 15 ms" if name == "in slices" else "",
        )
        for name in ("in slices", "at once")
    ]


SCRIPT = Script(
    name="pages",
    doc=__doc__,
    measure=measure,
    options={"requests": 40, "rounds": 3},
    quick={"requests": 5, "rounds": 2},
)

if __name__ == "__main__":
    SCRIPT.run()
