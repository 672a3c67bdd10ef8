"""What does a send cost, compared with its two requests alone through treq and through Agent?

The daemon sends a tick, from the request that opens it to the last settled send. The other sides
make only the two requests of each send, in a loop with the same concurrency: through treq with URLs
as text, and through ``twisted.web.client.Agent``. All sides are processes of their own, use the
same stand-ins, and take turns.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import installation
from benchmarks.processes import Client, client
from benchmarks.results import Figure
from benchmarks.script import Script

WARM_UP = 500


def bare_ms(loop: Client, sends: int) -> float:
    """Milliseconds of processor time of a bare loop, for each pair of requests."""
    began = loop.process.cpu_seconds()
    loop.work()
    return (loop.process.cpu_seconds() - began) / sends * 1000


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure all sides in turn."""
    with ExitStack() as stack:
        made = stack.enter_context(installation(folder, about))
        schedules = add_schedule(made.cursor), add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedules[0])
        for schedule, count in zip(schedules, (options.sends, WARM_UP), strict=True):
            add_subscriptions(made.cursor, count, schedule=schedule, messageset=messageset)
        analyse(made.cursor)
        one = stack.enter_context(made.daemon(SBM_CONCURRENCY=str(options.concurrency)))
        sending = made.sending(one)
        addresses = made.services.identity_store, made.services.message_sender
        loops = {
            way: stack.enter_context(
                client(
                    "bare_requests",
                    *(way, *addresses, options.sends, options.concurrency),
                    folder=folder,
                )
            )
            for way in ("treq", "agent")
        }
        sending.tick(schedules[1])
        found: dict[str, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            for way, loop in loops.items():
                found[way].append(bare_ms(loop, options.sends))
            cost = sending.tick(schedules[0])
            assert cost.sends == options.sends, cost
            for name in ("daemon_ms", "postgres_ms", "stand_in_ms", "wal_kb", "rate"):
                found[name].append(getattr(cost, name))
            print(
                f"round {number + 1}: "
                + ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items()),
                flush=True,
            )
    return figures(found)


def figures(found: dict[str, list[float]]) -> Sequence[Figure]:
    """The figures, with their goals."""
    return [
        Figure(
            measure="1",
            name="CPU of the daemon per send ÷ bare treq loop",
            unit="ms",
            ours=found["daemon_ms"],
            theirs=found["treq"],
            goal="≤ 0.30",
        ),
        Figure(
            measure="2",
            name="CPU of the daemon per send ÷ bare Agent loop",
            unit="ms",
            ours=found["daemon_ms"],
            theirs=found["agent"],
            goal="≤ 0.60",
        ),
        Figure(
            measure="3",
            name="CPU of PostgreSQL per send ÷ bare Agent loop",
            unit="ms",
            ours=found["postgres_ms"],
            theirs=found["agent"],
            goal="≤ 0.25",
        ),
        Figure(
            measure="4",
            name="sends per second of one daemon",
            unit="/s",
            ours=found["rate"],
            goal="≥ 2,500",
        ),
        Figure(name="CPU of the stand-ins per send", unit="ms", ours=found["stand_in_ms"]),
        Figure(name="WAL per send", unit="kB", ours=found["wal_kb"]),
    ]


SCRIPT = Script(
    name="send",
    doc=__doc__,
    measure=measure,
    options={"sends": 20_000, "concurrency": 50, "rounds": 3},
    quick={"sends": 1_000},
)

if __name__ == "__main__":
    SCRIPT.run()
