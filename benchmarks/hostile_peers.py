"""Do hostile services fill the daemon's memory, or hold up everybody else?

The Identity Store, the Message Sender, the Scheduler and the voice vendor attack a daemon, one way
after the other: see ``hostile_services`` and ``hostile_vendor``. Meanwhile, people with good
answers are sent to by single triggers, ``GET /livez`` and ``GET /schedule/1/`` are called, and the
memory of the daemon is watched. The daemon is a real one; only its pauses are shorter.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from benchmarks.content import HEADERS, add_messageset, add_schedule, add_subscriptions, add_user
from benchmarks.daemons import Daemon, daemon
from benchmarks.hostile_services import ATTACKS, HOSTILE, HostileServices, hostile_services
from benchmarks.hostile_vendor import environment as vendor_environment
from benchmarks.processes import client, free_port
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.server import connected, server
from tests.clients.voice_vendor.sftp import pinned

GOOD = "ffffffff-"

# So few of the people that the services do not count as away: one in five may fail.
HOSTILE_PEOPLE = 4
PAUSE_SECONDS = 0.05
MIB = 2**20


@define(eq=False, kw_only=True)
class Calls:
    """Light calls and triggers of single sends, again and again, and how long they take."""

    daemon: Daemon
    services: HostileServices
    good: Sequence[tuple[UUID, str]]
    light: list[float] = field(factory=list)
    triggered: dict[str, float] = field(factory=dict)
    failures: list[str] = field(factory=list)
    is_over: bool = False
    _next: int = 0

    def during(
        self, seconds: float, attack: Callable[[], None] | None = None
    ) -> tuple[list[float], list[float]]:
        """Call for so long; returns what light calls took, and triggers until their arrival.

        The attack begins a second later: the daemon has seen then that others are answered.
        """
        self.light, self.triggered, self.is_over = [], {}, False
        threads = [threading.Thread(target=one) for one in (self._call, self._trigger)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        if attack is not None:
            attack()
        time.sleep(seconds)
        self.is_over = True
        for thread in threads:
            thread.join()
        return self.light, self._arrivals()

    def _arrivals(self) -> list[float]:
        end = time.monotonic() + 30.0
        while True:
            arrivals = self.services.records()["arrivals"]
            missing = [one for one in self.triggered if one not in arrivals]
            if not missing or time.monotonic() > end:
                self.failures += [f"{one} got no message" for one in missing]
                break
            time.sleep(0.2)
        return [arrivals[one] - at for one, at in self.triggered.items() if one in arrivals]

    def _call(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=60)
        while not self.is_over:
            for path in ("/livez", "/api/v1/schedule/1/"):
                self.light.append(self._timed(line, "GET", path))
            time.sleep(PAUSE_SECONDS)

    def _trigger(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=60)
        while not self.is_over and self._next < len(self.good):
            subscription, identity = self.good[self._next]
            self._next += 1
            self.triggered[identity] = time.monotonic()
            self._timed(line, "POST", f"/api/v1/subscriptions/{subscription}/send")
            time.sleep(2 * PAUSE_SECONDS)

    def _timed(self, line: http.client.HTTPConnection, method: str, path: str) -> float:
        began_at = time.perf_counter()
        line.request(method, path, headers=HEADERS)
        answer = line.getresponse()
        answer.read()
        if answer.status >= 300:
            self.failures.append(f"{answer.status} for {path}")
        return time.perf_counter() - began_at


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Attack in each way for some seconds."""
    with ExitStack() as stack:
        postgres = stack.enter_context(server(folder))
        services = stack.enter_context(hostile_services(folder))
        uri = stack.enter_context(postgres.database())
        cursor = stack.enter_context(connected(uri))
        about["PostgreSQL"] = postgres.about()
        add_user(cursor)
        schedule = add_schedule(cursor)
        messageset = add_messageset(cursor, schedule)
        count = int((len(ATTACKS) + 3) * (options.seconds + 1) / PAUSE_SECONDS)
        for number, prefix in ((count, GOOD), (HOSTILE_PEOPLE, HOSTILE)):
            add_subscriptions(
                cursor, number, schedule=schedule, messageset=messageset, prefix=prefix
            )
        settings = services.environment() | {"SBM_BACKOFF_MAX_SECONDS": "2"}
        settings |= {"SBM_MEDIA_ROOT": str(folder)} | _vendor(stack, folder)
        one = stack.enter_context(daemon(folder, uri, settings))
        cursor.execute(
            "SELECT id, identity FROM subscriptions WHERE identity LIKE %s", (f"{GOOD}%",)
        )
        calls = Calls(daemon=one, services=services, good=cursor.fetchall())
        return _measured(calls, cursor, options.seconds, folder)


def _vendor(stack: ExitStack, folder: Path) -> dict[str, str]:
    key, port = Key(Ed25519PrivateKey.generate()), free_port()
    path = folder / "host_key"
    path.write_bytes(key.toString("OPENSSH"))
    stack.enter_context(client("hostile_vendor", port, path, folder=folder))
    return vendor_environment(port, pinned(key))


def _measured(calls: Calls, cursor: Any, seconds: float, folder: Path) -> list[Figure]:
    calls.during(3.0)  # what is loaded at the first use
    fresh = calls.daemon.process.resident_bytes() / MIB
    idle = calls.during(seconds)
    figures, peaks = [], []
    for attack in ATTACKS:
        calls.services.begin(attack)
        before = calls.services.records()["hostile_answers"]
        _forget_peak(calls.daemon.process.pid)
        light, triggers = calls.during(seconds, partial(_let_call_hostile, calls.daemon, cursor))
        answers = calls.services.records()["hostile_answers"] - before
        peak = _peak_mib(calls.daemon.process.pid)
        peaks.append(peak)
        print(
            f"{attack}: {answers} hostile answers; peak {peak:.0f} MiB; light calls p99"
            f" {_p99(light) * 1000:.1f} ms; {len(triggers)} triggered, p99"
            f" {_p99(triggers) * 1000:.0f} ms",
            flush=True,
        )
        for what, times, alone in zip(
            ("light call", "trigger"), (light, triggers), idle, strict=True
        ):
            figures.append(
                Figure(
                    name=f"p99 of a {what} beside {attack} ÷ alone",
                    unit="s",
                    ours=[_p99(times)],
                    theirs=[_p99(alone)],
                    goal="≤ 10",
                )
            )
    end = calls.daemon.process.resident_bytes() / MIB
    log = sum(path.stat().st_size for path in folder.glob("daemon-*.log"))
    print(f"memory: {fresh:.0f} MiB fresh, {max(peaks):.0f} at most, {end:.0f} at the end")
    print(f"log: {log / 1024:.0f} KiB, {_controls(folder)} control characters")
    print(f"failures: {calls.failures[:10] or 'none'}")
    return [
        Figure(name="memory at most", unit="MiB", ours=[max(peaks)], goal="≤ 200 MiB"),
        Figure(name="memory of a fresh daemon", unit="MiB", ours=[fresh]),
        Figure(name="memory at the end", unit="MiB", ours=[end]),
        Figure(name="failed calls and triggers", unit="", ours=[len(calls.failures)], goal="0"),
        *figures,
    ]


def _let_call_hostile(daemon: Daemon, cursor: Any) -> None:
    """Owe sends to the hostile people, and calls to the Scheduler; copy files to the vendor."""
    cursor.execute(
        "UPDATE subscriptions SET process_status = 0, active = true WHERE identity LIKE %s"
        " RETURNING id",
        (f"{HOSTILE}%",),
    )
    for (subscription,) in cursor.fetchall():
        daemon.post(f"subscriptions/{subscription}/send")
    cursor.execute("INSERT INTO schedules (minute) SELECT n FROM generate_series(0, 4) n")
    daemon.post("sync_audio_files/")


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _controls(folder: Path) -> int:
    """How many characters in the daemon's log a terminal would execute."""
    text = "".join(path.read_text("utf-8", "replace") for path in folder.glob("daemon-*.log"))
    return sum(not sign.isprintable() and sign not in "\n\t" for sign in text)


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] if times else float("inf")


if __name__ == "__main__":
    Script(
        name="hostile_peers",
        doc=__doc__,
        measure=measure,
        options={"seconds": 15.0},
        quick={"seconds": 3.0},
    ).run()
