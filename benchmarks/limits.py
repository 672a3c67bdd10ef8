"""Is a rate kept by several daemons together, and does what is held back stay out of the way?

First, daemons send a tick of a schedule with a rate, and each arrival at the Message Sender is
noted: the script prints the most arrivals in any second. Then many sends of a paused schedule are
owed, and a small tick of another schedule is opened: the script prints how long it takes until its
first message arrives, and how long that takes when nothing is held back.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.content import add_messageset, add_schedule, add_subscriptions, analyse
from benchmarks.installation import Installation, installation
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.stand_in import OBSERVED

SMALL = 50


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure the rate, and then the tick beside what is held back."""
    with installation(folder, about) as made:
        cursor = made.cursor
        paced, small, held = (add_schedule(cursor) for _ in range(3))
        messageset = add_messageset(cursor, paced)
        first = 0
        for schedule, count, prefix in (
            (paced, options.rate * options.seconds, OBSERVED),
            (small, SMALL, OBSERVED),
            (held, options.held, "00000000-"),
        ):
            add_subscriptions(
                cursor, count, schedule=schedule, messageset=messageset, first=first, prefix=prefix
            )
            first += count
        cursor.execute("UPDATE schedules SET max_rate = %s WHERE id = %s", (options.rate, paced))
        analyse(cursor)
        with ExitStack() as stack:
            daemons = [stack.enter_context(made.daemon()) for _ in range(options.daemons)]
            sending = made.sending(*daemons)
            sending.tick(small)
            most = most_in_a_second(made, sending, paced)
            alone = [first_message(sending, small) for _ in range(options.rounds)]
            hold(cursor, held)
            beside = [first_message(sending, small) for _ in range(options.rounds)]
    return [
        Figure(
            name=f"messages in any second at {options.rate} a second, {options.daemons} daemons",
            unit="messages",
            ours=[most],
            theirs=[options.rate],
            goal="≤ 1.1",
        ),
        Figure(
            name=f"from a tick to its first message beside {options.held} held ÷ alone",
            unit="s",
            ours=beside,
            theirs=alone,
            goal="< 0.5 s",
        ),
    ]


def most_in_a_second(made: Installation, sending: Any, schedule: int) -> float:
    """The most arrivals in any second while a tick is sent."""
    made.services.restart()
    sending.tick(schedule)
    arrivals = sorted(sending.stand_in.records().arrivals.values())
    return max(bisect_left(arrivals, at + 1.0) - number for number, at in enumerate(arrivals))


def first_message(sending: Any, schedule: int) -> float:
    """Seconds from the request that opens a tick to the arrival of its first message."""
    sending.stand_in.restart()
    began_at = time.monotonic()
    sending.open(schedule)
    while not (arrivals := sending.stand_in.records().arrivals):
        time.sleep(0.05)
    seconds: float = min(arrivals.values()) - began_at
    while len(sending.stand_in.records().arrivals) < SMALL:
        time.sleep(0.05)
    time.sleep(1.0)
    return seconds


def hold(cursor: Any, schedule: int) -> None:
    """Owe a send to each subscription of a schedule that is paused."""
    cursor.execute(
        "INSERT INTO pauses (kind, schedule_id, on_ticks, reason, paused_by)"
        " VALUES ('operator', %s, 'later', 'benchmark', 'benchmark')",
        (schedule,),
    )
    cursor.execute(
        "INSERT INTO ticks (source, state, schedule_id, triggers)"
        " SELECT 'post-back', 'expanded', %s, count(*) FROM subscriptions WHERE schedule_id = %s"
        " RETURNING id",
        (schedule, schedule),
    )
    (tick,) = cursor.fetchone()
    cursor.execute(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id, queue_schedule_id,"
        " queue_messageset_id) SELECT 'next', 'tick', id, identity, %s, schedule_id, messageset_id"
        " FROM subscriptions WHERE schedule_id = %s",
        (tick, schedule),
    )


SCRIPT = Script(
    name="limits",
    doc=__doc__,
    measure=measure,
    options={"rate": 100, "seconds": 20, "daemons": 2, "held": 1_000_000, "rounds": 5},
    quick={"seconds": 5, "held": 20_000, "rounds": 2},
)

if __name__ == "__main__":
    SCRIPT.run()
