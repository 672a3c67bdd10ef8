"""Does a send cost more if several daemons share the work?

One, two and four daemons send the same tick in turn, each time with the same PostgreSQL. The
processor time is that of all daemons and PostgreSQL together.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import Installation, installation
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.ticks import Cost

WARM_UP = 500


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Send the tick with each number of daemons, in turn."""
    found: dict[int, list[float]] = defaultdict(list)
    with installation(folder, about) as made:
        schedules = add_schedule(made.cursor), add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedules[0])
        for schedule, count in zip(schedules, (options.sends, WARM_UP), strict=True):
            add_subscriptions(made.cursor, count, schedule=schedule, messageset=messageset)
        analyse(made.cursor)
        for number in range(options.rounds):
            for count in (1, *options.daemons):
                cost = sent_by(made, count, schedules)
                assert cost.sends == options.sends, cost
                found[count].append(cost.daemon_ms + cost.postgres_ms)
                print(
                    f"round {number + 1}, {count} daemons: daemons {cost.daemon_ms:.3f} ms,"
                    f" PostgreSQL {cost.postgres_ms:.3f} ms, {cost.rate:.0f} sends a second",
                    flush=True,
                )
    return [
        Figure(
            measure="6",
            name=f"CPU of daemons and PostgreSQL per send, {count} daemons ÷ one",
            unit="ms",
            ours=found[count],
            theirs=found[1],
            goal="≤ 1.15",
        )
        for count in options.daemons
    ]


def sent_by(made: Installation, count: int, schedules: Sequence[int]) -> Cost:
    """The cost of a tick that new daemons send, after a small one."""
    with ExitStack() as stack:
        sending = made.sending(*(stack.enter_context(made.daemon()) for _ in range(count)))
        sending.tick(schedules[1])
        return sending.tick(schedules[0])


SCRIPT = Script(
    name="several_daemons",
    doc=__doc__,
    measure=measure,
    options={"sends": 20_000, "daemons": (2, 4), "rounds": 3},
    quick={"sends": 1_000, "daemons": (2,), "rounds": 2},
)

if __name__ == "__main__":
    SCRIPT.run()
