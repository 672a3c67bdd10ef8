"""What does a send cost if the same job is written with procrastinate and aiohttp?

``benchmarks/procrastinate_worker.py`` has that job. It runs in an environment that the script makes
and removes again; ``--environment FOLDER`` keeps it for the next run. Both sides use the same
PostgreSQL and the same stand-ins, and take turns. The processor time is that of the worker or
daemon and of PostgreSQL together, from the tick to the last settled send.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import Installation, installation
from benchmarks.processes import Client, told
from benchmarks.results import Figure
from benchmarks.script import Script

PACKAGES = ("procrastinate", "aiohttp", "psycopg[binary,pool]")
WARM_UP = 200


def python_of(environment: Path) -> Path:
    """The interpreter of an environment with the packages, which is made if there is none."""
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([python, *install, *PACKAGES], check=True)
    return python


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure both sides in turn."""
    python = python_of(Path(options.environment or folder / "environment").resolve())
    about["packages of the other side"] = subprocess.check_output(
        [python, "-m", "pip", "list", "--format=freeze"], text=True
    ).split()
    found: dict[str, list[float]] = defaultdict(list)
    with installation(folder, about) as made:
        schedules = add_schedule(made.cursor), add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedules[0])
        for schedule, count in zip(schedules, (options.sends, WARM_UP), strict=True):
            add_subscriptions(made.cursor, count, schedule=schedule, messageset=messageset)
        analyse(made.cursor)
        command: list[str | Path] = [
            python,
            Path(__file__).with_name("procrastinate_worker.py"),
            made.server.create(),
            made.services.identity_store,
            made.services.message_sender,
            str(options.sends),
            str(options.concurrency),
        ]
        with (
            told(command, log=folder / "procrastinate.log") as worker,
            made.daemon(SBM_CONCURRENCY=str(options.concurrency)) as daemon,
        ):
            sending = made.sending(daemon)
            sending.tick(schedules[1])
            for number in range(options.rounds):
                python_ms, postgres_ms = theirs(made, worker, options.sends)
                cost = sending.tick(schedules[0])
                found["worker"].append(python_ms)
                found["PostgreSQL of worker"].append(postgres_ms)
                found["daemon"].append(cost.daemon_ms)
                found["PostgreSQL of daemon"].append(cost.postgres_ms)
                print(
                    f"round {number + 1}: "
                    + ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items()),
                    flush=True,
                )
    return figures(found)


def theirs(made: Installation, worker: Client, sends: int) -> tuple[float, float]:
    """Milliseconds of processor time of the worker and of PostgreSQL, for each send."""
    began = worker.process.cpu_seconds(), made.server.cpu_seconds()
    outbounds = made.services.records().outbounds
    worker.work()
    ended = worker.process.cpu_seconds(), made.server.cpu_seconds()
    if made.services.records().outbounds - outbounds != sends:
        raise RuntimeError("the worker has not sent all messages")
    return (ended[0] - began[0]) / sends * 1000, (ended[1] - began[1]) / sends * 1000


def figures(found: dict[str, list[float]]) -> Sequence[Figure]:
    """The figures, with their goal."""
    both = {
        side: [sum(pair) for pair in zip(found[side], found[f"PostgreSQL of {side}"], strict=True)]
        for side in ("worker", "daemon")
    }
    return [
        Figure(
            measure="13",
            name="CPU per send with procrastinate and aiohttp ÷ ours, with PostgreSQL",
            unit="ms",
            ours=both["daemon"],
            theirs=both["worker"],
            goal="≥ 5",
            is_inverse=True,
        ),
        Figure(
            name="CPU per send with procrastinate and aiohttp ÷ ours, without PostgreSQL",
            unit="ms",
            ours=found["daemon"],
            theirs=found["worker"],
            is_inverse=True,
        ),
    ]


SCRIPT = Script(
    name="versus_procrastinate",
    doc=__doc__,
    measure=measure,
    options={"sends": 10_000, "concurrency": 50, "rounds": 3, "environment": ""},
    quick={"sends": 500, "rounds": 2},
)

if __name__ == "__main__":
    SCRIPT.run()
