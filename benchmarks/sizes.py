"""Does a send cost more if there are more subscriptions?

For each number of subscriptions, there is a new database, and a tick for all of them. The daemon
expands a tick ``MOST_WAITING`` sends ahead. So the cost is that of the sends after these. If there
are fewer subscriptions than sends, whole ticks follow each other. There is one round, as millions
of rows take minutes to insert.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import installation
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.ticks import Cost, Sending
from sbm.pipeline.ticks import MOST_WAITING


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure the sizes one after the other."""
    found = {}
    for size in options.subscriptions:
        one = folder / str(size)
        one.mkdir(mode=0o711)
        found[size] = cost = cost_at(size, options.sends, one, about)
        print(
            f"{size:,} subscriptions: {cost.sends} sends, daemon {cost.daemon_ms:.3f} ms,"
            f" PostgreSQL {cost.postgres_ms:.3f} ms, {cost.rate:.0f} sends a second",
            flush=True,
        )
    smallest = found[options.subscriptions[0]]
    return [
        Figure(
            measure="5",
            name=f"CPU of daemon and PostgreSQL per send, {size:,} subscriptions"
            f" ÷ {options.subscriptions[0]:,}",
            unit="ms",
            ours=[cost.daemon_ms + cost.postgres_ms],
            theirs=[smallest.daemon_ms + smallest.postgres_ms],
            goal="0.9 to 1.1",
        )
        for size, cost in found.items()
        if cost is not smallest
    ]


def cost_at(size: int, sends: int, folder: Path, about: dict[str, Any]) -> Cost:
    """The cost of so many sends among so many subscriptions."""
    with installation(folder, about) as made:
        schedules = add_schedule(made.cursor), add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedules[0])
        add_subscriptions(made.cursor, size, schedule=schedules[0], messageset=messageset)
        add_subscriptions(
            made.cursor, 500, schedule=schedules[1], messageset=messageset, first=size
        )
        analyse(made.cursor)
        with made.daemon() as one:
            sending = made.sending(one)
            sending.tick(schedules[1])
            if size > sends:
                return sending.part_of_tick(schedules[0], after=MOST_WAITING, sends=sends)
            return several_ticks(sending, schedules[0], sends)


def several_ticks(sending: Sending, schedule: int, sends: int) -> Cost:
    """The cost of so many sends or a few more, in ticks that follow each other."""
    total = sending.tick(schedule)
    while total.sends < sends:
        total += sending.tick(schedule)
    return total


SCRIPT = Script(
    name="sizes",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": (10_000, 100_000, 1_000_000, 5_000_000), "sends": 100_000},
    quick={"subscriptions": (1_000, 15_000), "sends": 2_000},
)

if __name__ == "__main__":
    SCRIPT.run()
