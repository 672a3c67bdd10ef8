"""Do hostile services fill the daemon's memory, or hold up everybody else?

The Identity Store, the Message Sender, the Scheduler and the voice vendor attack a daemon, one way
after the other: see ``hostile_services`` and ``hostile_vendor``. Meanwhile, people with good
answers are sent to by single triggers, ``GET /livez`` and ``GET /schedule/1/`` are called, and the
memory of the daemon is watched. The daemon is a real one; only its pauses are shorter.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.keys import Key

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, add_user
from benchmarks.daemons import Daemon, daemon
from benchmarks.hostile_services import ATTACKS, HOSTILE, HostileServices, hostile_services
from benchmarks.hostile_vendor import environment as vendor_environment
from benchmarks.light_calls import LightCalls, p99, told
from benchmarks.processes import client, free_port
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.server import connected, server
from tests.clients.voice_vendor.sftp import pinned

GOOD = "ffffffff-"

# So few of the people that the services do not count as away: one in five may fail.
HOSTILE_PEOPLE = 4
PEOPLE = 5000
MIB = 2**20


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
        for number, prefix in ((PEOPLE, GOOD), (HOSTILE_PEOPLE, HOSTILE)):
            add_subscriptions(
                cursor, number, schedule=schedule, messageset=messageset, prefix=prefix
            )
        settings = services.environment() | {"SBM_BACKOFF_MAX_SECONDS": "2"}
        settings |= {"SBM_MEDIA_ROOT": str(folder)} | _vendor(stack, folder)
        one = stack.enter_context(daemon(folder, uri, settings))
        cursor.execute(
            "SELECT id, identity FROM subscriptions WHERE identity LIKE %s", (f"{GOOD}%",)
        )
        calls = LightCalls(
            port=one.port,
            people=cursor.fetchall(),
            arrivals=lambda: services.records()["arrivals"],
        )
        return _measured(one, services, calls, cursor, options.seconds, folder)


def _vendor(stack: ExitStack, folder: Path) -> dict[str, str]:
    key, port = Key(Ed25519PrivateKey.generate()), free_port()
    path = folder / "host_key"
    path.write_bytes(key.toString("OPENSSH"))
    stack.enter_context(client("hostile_vendor", port, path, folder=folder))
    return vendor_environment(port, pinned(key))


def _measured(
    daemon: Daemon,
    services: HostileServices,
    calls: LightCalls,
    cursor: Any,
    seconds: float,
    folder: Path,
) -> list[Figure]:
    process = daemon.process
    calls.during(3.0)  # what is loaded at the first use
    fresh = process.resident_bytes() / MIB
    idle = calls.during(seconds)
    figures, peaks = [], []
    for attack in ATTACKS:
        services.begin(attack)
        before = services.records()["hostile_answers"]
        process.forget_peak()
        # A second later, the daemon has seen that others are answered.
        begin = threading.Timer(1.0, _let_call_hostile, (daemon, cursor))
        begin.start()
        beside = calls.during(seconds + 1.0)
        begin.join()
        answers = services.records()["hostile_answers"] - before
        peaks.append(process.peak_bytes() / MIB)
        print(f"{attack}: {answers} hostile answers; peak {peaks[-1]:.0f} MiB", flush=True)
        print(f"  p99 of {told(beside)}", flush=True)
        figures += [
            Figure(
                name=f"p99 of {what} beside {attack} ÷ alone",
                unit="ms",
                ours=[p99(times) * 1000],
                theirs=[p99(idle[what]) * 1000],
                goal="≤ 10",
            )
            for what, times in beside.items()
        ]
    end = process.resident_bytes() / MIB
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


def _controls(folder: Path) -> int:
    """How many characters in the daemon's log a terminal would execute."""
    text = "".join(path.read_text("utf-8", "replace") for path in folder.glob("daemon-*.log"))
    return sum(not sign.isprintable() and sign not in "\n\t" for sign in text)


if __name__ == "__main__":
    Script(
        name="hostile_peers",
        doc=__doc__,
        measure=measure,
        options={"seconds": 15.0},
        quick={"seconds": 3.0},
    ).run()
