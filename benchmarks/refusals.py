"""How much longer do all other messages take if one message in twenty is refused?

On one side, a tick is sent without refusals. On the other side, a tick is sent to the same people,
and one message in twenty is answered with an error at every try. The script measures the time from
the tick until all other people have their message, and the processor time of the daemon. The sides
take turns.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.content import (
    add_messageset,
    add_schedule,
    add_subscriptions,
    analyse,
    identity,
)
from benchmarks.installation import Installation, installation
from benchmarks.results import Figure
from benchmarks.script import Script
from benchmarks.stand_in import is_refused
from benchmarks.ticks import Cost

SIDES = {"without": False, "beside": True}


def measure(options: argparse.Namespace, folder: Path, about: dict[str, Any]) -> Sequence[Figure]:
    """Measure both sides in turn."""
    found: dict[str, list[Cost]] = defaultdict(list)
    others = sum(not is_refused(identity(number)) for number in range(options.subscriptions))
    with installation(folder, about) as made:
        schedule = add_schedule(made.cursor)
        messageset = add_messageset(made.cursor, schedule)
        add_subscriptions(
            made.cursor, options.subscriptions, schedule=schedule, messageset=messageset
        )
        analyse(made.cursor)
        sent(made, {}, schedule, others)  # to warm up
        for number in range(options.rounds):
            for side, is_refusing in SIDES.items():
                settings = (
                    {"MESSAGE_SENDER_URL": made.services.refusing(options.status)}
                    if is_refusing
                    else {}
                )
                found[side].append(sent(made, settings, schedule, others))
            without, beside = (found[side][-1].seconds for side in SIDES)
            refused = options.subscriptions - others
            print(
                f"round {number + 1}: {others} messages are sent after {without:.1f} s, and after"
                f" {beside:.1f} s if {refused} more are answered {options.status}",
                flush=True,
            )
    name = f"of {others} sends beside {options.subscriptions - others} refused ones ÷ without these"
    return [
        Figure(
            name=f"time {name}",
            unit="s",
            ours=[cost.seconds for cost in found["beside"]],
            theirs=[cost.seconds for cost in found["without"]],
        ),
        Figure(
            name=f"CPU of the daemon {name}",
            unit="s",
            ours=[cost.daemons for cost in found["beside"]],
            theirs=[cost.daemons for cost in found["without"]],
        ),
    ]


def sent(made: Installation, settings: dict[str, str], schedule: int, others: int) -> Cost:
    """The cost from a tick until ``others`` people have their message."""
    made.cursor.execute("TRUNCATE ledger, sends, failed_tasks")
    with made.daemon(**settings) as daemon:
        sending = made.sending(daemon)
        end = made.services.records().outbounds + others
        return sending.cost(
            lambda: sending.open(schedule), lambda: made.services.records().outbounds >= end
        )


SCRIPT = Script(
    name="refusals",
    doc=__doc__,
    measure=measure,
    options={"subscriptions": 2000, "status": 403, "rounds": 3},
    quick={"subscriptions": 500},
)

if __name__ == "__main__":
    SCRIPT.run()
