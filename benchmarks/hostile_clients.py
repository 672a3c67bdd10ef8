"""Do hostile clients fill the daemon's memory, or hold up everybody else?

Clients attack a daemon, one way after the other, from one address and from many: see
``hostile_requests``. They are a process of their own. Meanwhile, ``GET /livez`` and
``GET /schedule/1/`` are called and single sends are triggered, at a pace, from another address, and
the memory of the daemon is watched. Before each attack, the same is measured without any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks.content import (
    add_messageset,
    add_schedule,
    add_subscriptions,
    add_user,
    analyse,
    is_idle,
)
from benchmarks.daemons import Daemon
from benchmarks.hostile_requests import ATTACKS, SESSION, USERS, metadata, token
from benchmarks.installation import Installation, installation
from benchmarks.light_calls import MEASURES, LightCalls, p99
from benchmarks.processes import client, until
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.stand_in import OBSERVED

MIB = 2**20
PEOPLE = 5000
HEAVY_SUBSCRIPTIONS = 1000
TICKED = 50
ONE, MANY = 1, 200
KINDS = {ONE: "one address", MANY: "many addresses"}


@define(eq=False, kw_only=True)
class Assault:
    """A daemon that is attacked, and what was found."""

    made: Installation
    daemon: Daemon
    calls: LightCalls
    seconds: float
    idle: dict[str, list[float]] = field(factory=lambda: defaultdict(list))
    beside: dict[tuple[str, str], list[float]] = field(factory=dict)
    peaks: dict[str, float] = field(factory=dict)

    def rest(self, seconds: float) -> None:
        """Measure without an attack, when all that the last one has left is done."""
        began_at = time.monotonic()
        with suppress(TimeoutError):
            until(self._is_quiet, "the daemon rests", pause=0.0)
        waited = time.monotonic() - began_at
        if waited > 3.0:
            print(f"  the daemon worked for {waited:.0f} s after that", flush=True)
        self.made.services.restart()
        for what, times in self.calls.during(seconds).items():
            self.idle[what] += times

    def attack(self, name: str, addresses: int) -> None:
        """Measure beside an attack."""
        full_name = f"{name}, {KINDS[addresses]}"
        process = self.daemon.process
        self.made.services.restart()
        process.forget_peak()
        told = len(self.calls.failures)
        with (
            client(
                "hostile_requests",
                self.daemon.port,
                name,
                addresses,
                self.seconds + 1.0,
                folder=self.made.folder,
            ) as attackers,
            ThreadPoolExecutor(1) as thread,
        ):
            attack = thread.submit(attackers.work)
            time.sleep(0.5)
            found = self.calls.during(self.seconds)
            counts = json.loads(attack.result())
        self.peaks[full_name] = process.peak_bytes() / MIB
        for what, times in found.items():
            self.beside[what, full_name] = times
        self._print(full_name, counts, self.calls.failures[told:])

    def ratio(self, what: str, name: str) -> float:
        """The p99 beside an attack ÷ the idle one."""
        return p99(self.beside[what, name]) / p99(self.idle[what])

    def _print(self, name: str, counts: dict[str, int], failures: Sequence[str]) -> None:
        requests = counts.pop("requests", 0)
        answers = ", ".join(f"{number} × {what}" for what, number in sorted(counts.items()))
        print(f"{name}: {requests} requests; {answers or 'no answers'}")
        times = ", ".join(
            f"{what} {p99(self.beside[what, name]) * 1000:.0f} ms ({self.ratio(what, name):.1f})"
            for what in MEASURES
        )
        print(f"  peak {self.peaks[name]:.0f} MiB; p99 of {times}")
        if failures:
            told = ", ".join(f"{failures.count(one)} × {one}" for one in sorted(set(failures)))
            print(f"  FAILED: {told}")
        print(end="", flush=True)

    def _is_quiet(self) -> bool:
        before = self.daemon.process.cpu_seconds()
        time.sleep(0.5)
        return self.daemon.process.cpu_seconds() - before < 0.05 and is_idle(self.made.cursor)


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Attack in each way for some seconds."""
    with installation(folder, about) as made:
        people = add_content(made.cursor)
        with made.daemon(SBM_MEDIA_ROOT=str(folder)) as daemon:
            calls = LightCalls(
                port=daemon.port,
                people=people,
                arrivals=lambda: made.services.records().arrivals,
            )
            assault = Assault(made=made, daemon=daemon, calls=calls, seconds=options.seconds)
            calls.during(2.0)  # what is loaded at the first use
            fresh = daemon.process.resident_bytes() / MIB
            assault.rest(2 * options.idle)
            for name in chosen(options.only, options.every):
                for addresses in (ONE, MANY)[-options.kinds :]:
                    assault.attack(name, addresses)
                    assault.rest(options.idle)
            end = daemon.process.resident_bytes() / MIB
    return figures(assault, fresh, end)


def chosen(only: str, every: int) -> Sequence[str]:
    """The names of the attacks with that in their name; of these, one in so many."""
    return [name for name in ATTACKS if only in name][::every]


def figures(assault: Assault, fresh: float, end: float) -> list[Figure]:
    """The memory, the failures, and the ratios of the slowest ones."""
    slowest = sorted(assault.beside, key=lambda pair: -assault.ratio(*pair))
    return [
        Figure(
            name="memory at most", unit="MiB", ours=[max(assault.peaks.values())], goal="≤ 200 MiB"
        ),
        Figure(name="memory of a fresh daemon", unit="MiB", ours=[fresh]),
        Figure(name="memory at the end", unit="MiB", ours=[end]),
        Figure(
            name="failed calls and triggers", unit="", ours=[len(assault.calls.failures)], goal="0"
        ),
        *(
            Figure(
                name=f"p99 of {what} beside {name} ÷ alone",
                unit="ms",
                ours=[p99(assault.beside[what, name]) * 1000],
                theirs=[p99(assault.idle[what]) * 1000],
                goal="≤ 10",
            )
            for what, name in slowest
        ),
    ]


def add_content(cursor: Any) -> list[tuple[Any, str]]:
    """Insert users and content; returns subscriptions and their identities, to be sent to."""
    for number in range(USERS):
        add_user(cursor, f"hostile-{number}", token(number))
    cursor.execute(
        "INSERT INTO console_sessions (digest, user_id, address, browser)"
        " SELECT %s, id, '127.0.0.1', 'benchmark' FROM users ORDER BY id LIMIT 1",
        (hashlib.sha256(SESSION.encode("ascii")).digest(),),
    )
    schedule, ticked = add_schedule(cursor), add_schedule(cursor)
    usual, heavy = (add_messageset(cursor, schedule, name) for name in ("usual", "heavy"))
    add_subscriptions(cursor, PEOPLE, schedule=schedule, messageset=usual, prefix=OBSERVED)
    add_subscriptions(
        cursor, HEAVY_SUBSCRIPTIONS, schedule=schedule, messageset=heavy, prefix="eeeeeeee-"
    )
    cursor.execute(
        "UPDATE subscriptions SET metadata = %s WHERE messageset_id = %s",
        (json.dumps(metadata()), heavy),
    )
    add_subscriptions(cursor, TICKED, schedule=ticked, messageset=usual, prefix="dddddddd-")
    analyse(cursor)
    cursor.execute(
        "SELECT id, identity FROM subscriptions WHERE identity LIKE %s", (f"{OBSERVED}%",)
    )
    people: list[tuple[Any, str]] = cursor.fetchall()
    return people


SCRIPT = Script(
    name="hostile_clients",
    doc=__doc__,
    measure=measure,
    options={"seconds": 8.0, "idle": 3.0, "kinds": 2, "only": "", "every": 1},
    quick={"seconds": 0.8, "idle": 0.3, "kinds": 1, "every": 6},
)

if __name__ == "__main__":
    SCRIPT.run()
