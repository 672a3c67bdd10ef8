"""How long does a page of 1,000 subscriptions block the reactor?

    python -m benchmarks.pages [--requests 40] [--rounds 3]

One side is the API as it is: rows are read and written in time slices. The second side is the same
API with slices that never end, so that each step (reading, writing) is done at once. The third side
is a page of one row. A function that runs in each iteration of the reactor measures how long the
reactor was blocked, in processor time of its thread, so that other work of the machine does not
count. The client is a process of its own. The sides take turns. The script prints the longest time
of each in milliseconds, and its ratio to that of the page of one row.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import urllib.request
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.utils import getProcessValue

from benchmarks.served import HEADERS, daemon, filled
from sbm.runtime import time_slices

SUBSCRIPTIONS = 5000
LIMIT = 0.015


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
    asked = ["-m", "benchmarks.pages", "--ask", url, "--requests", str(requests)]
    status = await getProcessValue(sys.executable, asked, env=None, reactor=reactor)
    pulse.stop()
    assert status == 0, f"the client failed for {url}"
    return max(pulse.holds)


def ask(url: str, requests: int) -> None:
    """Read a page again and again, as the client."""
    for _ in range(requests):
        with urllib.request.urlopen(urllib.request.Request(url, headers=HEADERS)) as answer:
            answer.read()


async def measure(reactor: Any, options: argparse.Namespace) -> None:
    """Measure all sides in turn, and print."""
    with filled(SUBSCRIPTIONS) as uri:
        service, url = daemon(reactor, uri)
        service.startService()
        pulse = Pulse(reactor)
        await held(reactor, pulse, url, 3)
        usual = time_slices.SECONDS
        sides: dict[str, list[float]] = {"one row": [], "in slices": [], "at once": []}
        for number in range(options.rounds):
            for name, limit, seconds in (
                ("one row", 1, usual),
                ("in slices", 1000, usual),
                ("at once", 1000, 3600.0),
            ):
                time_slices.SECONDS = seconds
                sides[name].append(
                    await held(reactor, pulse, f"{url}?limit={limit}", options.requests)
                )
            time_slices.SECONDS = usual
            figures = ", ".join(f"{name} {held[-1] * 1000:.1f} ms" for name, held in sides.items())
            print(f"round {number + 1}: reactor blocked for at most: {figures}")
        medians = {name: statistics.median(held) for name, held in sides.items()}
        for name in ("in slices", "at once"):
            ratio = medians[name] / medians["one row"]
            print(f"1,000 rows {name}: {medians[name] * 1000:.1f} ms, {ratio:.1f} times one row")
        verdict = "within" if medians["in slices"] <= LIMIT else "BEYOND"
        print(f"{verdict} the limit of {LIMIT * 1000:.0f} ms for blocking the reactor")
        await service.stopService()


def main() -> None:
    """Parse the command line, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask, options.requests)
        return
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor, options)))


if __name__ == "__main__":
    main()
