"""What do the two most frequent requests to the API cost, compared with a bare Klein handler?

The Hub subscribes people with ``POST /subscriptions/request``, and looks for the active
subscription of an identity. The other side is a handler on Klein and txpostgres that only inserts
one row into a plain table, or selects the row. It runs in a process of its own and uses the same
database. The sides take turns. The processor time is that of the server and of PostgreSQL.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.bare_klein import TABLE
from benchmarks.content import (
    add_messageset,
    add_schedule,
    add_subscriptions,
    analyse,
    identity,
    registration,
)
from benchmarks.installation import Installation, installation
from benchmarks.load import as_fast_as_answered, written
from benchmarks.processes import Process, client, free_port
from benchmarks.results import Figure
from benchmarks.script import Script

WARM_UP = 200


@frozen(eq=False, kw_only=True)
class Side:
    """A server of the API, and the paths of its two requests."""

    name: str
    process: Process
    port: int
    root: str


def creates(root: str, count: int) -> Iterator[bytes]:
    """Requests to subscribe new people."""
    for _ in range(count):
        yield written(
            "POST", f"{root}subscriptions/request", registration(messageset=1, schedule=1)
        )


def lists(root: str, count: int, people: int) -> Iterator[bytes]:
    """Requests to look for the active subscription of people who have one."""
    for number in range(count):
        # A step that is prime to most numbers, so that neighbours are not asked for in turn.
        person = identity(number * 7919 % people)
        yield written("GET", f"{root}subscriptions/?identity={person}&active=true")


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure both sides in turn, for both requests."""
    found: dict[str, list[float]] = defaultdict(list)
    with installation(folder, about) as made:
        schedule = add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedule)
        add_subscriptions(
            made.cursor, options.subscriptions, schedule=schedule, messageset=messageset
        )
        made.cursor.execute(TABLE)
        analyse(made.cursor)
        port = free_port()
        with made.daemon() as daemon, client("bare_klein", made.uri, port, folder=folder) as bare:
            sides = (
                Side(name="bare", process=bare.process, port=port, root="/"),
                Side(name="sbm", process=daemon.process, port=daemon.port, root="/api/v1/"),
            )
            for side in sides:
                requests(made, side, WARM_UP, options, defaultdict(list))
            for number in range(options.rounds):
                for side in sides:
                    requests(made, side, options.requests, options, found)
                print(
                    f"round {number + 1}: "
                    + ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items()),
                    flush=True,
                )
    return figures(found)


def requests(
    made: Installation,
    side: Side,
    count: int,
    options: argparse.Namespace,
    found: dict[str, list[float]],
) -> None:
    """Make so many requests of both kinds, and add what each of them cost, in milliseconds."""
    kinds = {
        "create": (creates(side.root, count), 201),
        "list": (lists(side.root, count, options.subscriptions), 200),
    }
    for kind, (asked, expected) in kinds.items():
        wal = made.server.wal_bytes()
        before = side.process.cpu_seconds(), made.server.cpu_seconds()
        statuses = as_fast_as_answered(side.port, asked, options.connections)
        after = side.process.cpu_seconds(), made.server.cpu_seconds()
        if set(statuses) != {expected}:
            raise RuntimeError(f"{side.name} answered {set(statuses)} to a {kind}")
        server, postgres = (
            (end - begin) / count * 1000 for begin, end in zip(before, after, strict=True)
        )
        found[f"{side.name} {kind}: server"].append(server)
        found[f"{side.name} {kind}: PostgreSQL"].append(postgres)
        found[f"{side.name} {kind}"].append(server + postgres)
        found[f"{side.name} {kind}: WAL kB"].append((made.server.wal_bytes() - wal) / count / 1000)


def figures(found: dict[str, list[float]]) -> Sequence[Figure]:
    """The figures, with their goals."""
    told = []
    for measure_number, kind, name in (
        ("10", "create", "POST /subscriptions/request"),
        ("11", "list", "list by identity and active"),
    ):
        told.append(
            Figure(
                measure=measure_number,
                name=f"CPU of {name} ÷ bare Klein handler",
                unit="ms",
                ours=found[f"sbm {kind}"],
                theirs=found[f"bare {kind}"],
                goal="≤ 2.5, and ≤ 0.85 ms",
            )
        )
        told += [
            Figure(
                name=f"{name}: CPU of {part} alone",
                unit="ms",
                ours=found[f"sbm {kind}: {part}"],
                theirs=found[f"bare {kind}: {part}"],
            )
            for part in ("server", "PostgreSQL")
        ]
    told.append(
        Figure(
            name="WAL of POST /subscriptions/request ÷ bare Klein handler",
            unit="kB",
            ours=found["sbm create: WAL kB"],
            theirs=found["bare create: WAL kB"],
        )
    )
    return told


SCRIPT = Script(
    name="api",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 100_000, "requests": 5_000, "connections": 10, "rounds": 3},
    quick={"subscriptions": 10_000, "requests": 500},
)

if __name__ == "__main__":
    SCRIPT.run()
