"""In which code is the time spent, for a send, a create and a list, before and after a change?

The daemon runs with a profiler that counts processor time, once for each of the three. ``--before
FOLDER`` names another checkout, whose daemon is measured in the same way. The profiler makes calls
of Python functions more costly than they are, so the shares show where to look; they are no result.
"""

from __future__ import annotations

import argparse
import pstats
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import profiled_twistd
from benchmarks.api import creates, lists
from benchmarks.content import (
    add_messageset,
    add_schedule,
    add_subscriptions,
    add_user,
    analyse,
)
from benchmarks.daemons import Daemon, daemon
from benchmarks.load import as_fast_as_answered
from benchmarks.processes import ENVIRONMENT, ROOT
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.server import Server, connected, server
from benchmarks.stand_in import StandIn, stand_in
from benchmarks.ticks import Sending

CONNECTIONS = 10
MOST_SHOWN = 16
ENDS_OF_PATHS = ("site-packages/", "/lib/python3")


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Profile each path in each checkout."""
    checkouts = {"after": ROOT}
    if options.before:
        checkouts = {"before": Path(options.before).resolve(), **checkouts}
    found: dict[str, dict[str, Mapping[str, float]]] = defaultdict(dict)
    with server(folder) as postgres, stand_in(folder) as services:
        about["PostgreSQL"] = postgres.about()
        for side, checkout in checkouts.items():
            for path in PATHS:
                output = folder / f"{side}-{path}"
                profiled(postgres, services, checkout, path, output, options)
                found[path][side] = milliseconds(output, options.number)
    figures = []
    for path, sides in found.items():
        print(f"\n{path}: milliseconds for each, with the profiler\n{table(sides)}", flush=True)
        totals = {side: sum(times.values()) for side, times in sides.items()}
        figures.append(
            Figure(
                name=f"{path}: profiled time" + (", after ÷ before" if options.before else ""),
                unit="ms",
                ours=[totals["after"]],
                theirs=[totals["before"]] if options.before else [],
            )
        )
    about["profiles"] = found
    return figures


def profiled(
    postgres: Server,
    services: StandIn,
    checkout: Path,
    path: str,
    output: Path,
    options: argparse.Namespace,
) -> None:
    """Let a daemon of a checkout do the same thing many times, with its profile in ``output``."""
    uri = postgres.create()
    # Each checkout has its own schema.
    subprocess.run(
        [sys.executable, "-c", "from sbm.cli import main; main()", "--database", uri, "migrate"],
        check=True,
        env=ENVIRONMENT | {"PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdout=subprocess.DEVNULL,
    )
    with connected(uri) as cursor:
        add_user(cursor)
        schedule = add_schedule(cursor)
        messageset = add_messageset(cursor, schedule)
        add_subscriptions(cursor, options.number, schedule=schedule, messageset=messageset)
        analyse(cursor)
        settings = services.environment() | {
            "PYTHONPATH": str(checkout),
            profiled_twistd.VARIABLE: str(output),
        }
        with daemon(output.parent, uri, settings, command=profiled_twistd.COMMAND) as one:
            sending = Sending(daemons=[one], server=postgres, stand_in=services, cursor=cursor)
            PATHS[path](one, sending, schedule, options.number)


def send(_daemon: Daemon, sending: Sending, schedule: int, _number: int) -> None:
    """Send a tick."""
    sending.tick(schedule)


def create(daemon: Daemon, _sending: Sending, _schedule: int, number: int) -> None:
    """Subscribe people."""
    as_fast_as_answered(daemon.port, creates("/api/v1/", number), CONNECTIONS)


def list_active(daemon: Daemon, _sending: Sending, _schedule: int, number: int) -> None:
    """Read the list by identity and active."""
    as_fast_as_answered(daemon.port, lists("/api/v1/", number, number), CONNECTIONS)


PATHS: dict[str, Callable[[Daemon, Sending, int, int], None]] = {
    "send": send,
    "create": create,
    "list": list_active,
}


def milliseconds(output: Path, number: int) -> dict[str, float]:
    """Milliseconds in the functions of each module, without those that they call."""
    times: dict[str, float] = defaultdict(float)
    stats: Any = pstats.Stats(str(output))
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():
        times[module_of(file, name)] += own / number * 1000
    return times


def module_of(file: str, name: str) -> str:
    """The module of a function: up to three names of its module, or the name of a function in C."""
    if file == "~":
        return f"C: {name.strip('<>')[:40]}"
    module = file
    for end in ENDS_OF_PATHS:
        module = module.rpartition(end)[2]
    if "/sbm/" in f"/{module}":
        module = "sbm/" + f"/{module}".rpartition("/sbm/")[2]
    return ".".join(module.removesuffix(".py").lstrip("0123456789./").split("/")[:3])


def table(sides: Mapping[str, Mapping[str, float]]) -> str:
    """The modules that take most, side by side."""
    names = {name for times in sides.values() for name in times}
    ordered = sorted(names, key=lambda name: -max(one.get(name, 0.0) for one in sides.values()))
    lines = [f"{'':44}" + "".join(f"{side:>10}" for side in sides)]
    for name in ordered[:MOST_SHOWN]:
        lines.append(
            f"{name:44}" + "".join(f"{one.get(name, 0.0):10.4f}" for one in sides.values())
        )
    return "\n".join(lines)


SCRIPT = Script(
    name="profiles",
    doc=__doc__,
    measure=measure,
    options={"number": 5_000, "before": ""},
    quick={"number": 300},
)

if __name__ == "__main__":
    SCRIPT.run()
