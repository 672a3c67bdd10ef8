"""``sbm subscription reset-stuck``: make subscriptions that are in error ready again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from sbm.commands.running import OK, Work, in_database, print_table, progress, say
from sbm.commands.selecting import add_selection, repair_from
from sbm.operations.selection import Repair
from sbm.operations.stuck import STATUSES, find_stuck, reset_stuck
from sbm.store.postgres.database import Database


def add_to(verbs: Any) -> None:
    """Add ``reset-stuck`` to the commands about subscriptions."""
    stuck = verbs.add_parser(
        "reset-stuck",
        help="make subscriptions that are in error ready again",
        description="Set process_status to 0 if it is -1 or -2, so that ticks include these"
        " subscriptions again. Completed subscriptions are not changed.",
    )
    stuck.add_argument(
        "--status", metavar="STATUS", type=int, choices=STATUSES, help="only -1, or only -2"
    )
    add_selection(stuck)
    stuck.set_defaults(command=in_database(_reset_stuck))


def _reset_stuck(options: argparse.Namespace) -> Work:
    return partial(
        _reset,
        repair=repair_from(options, options.status),
        statuses=STATUSES if options.status is None else (options.status,),
    )


async def _reset(database: Database, *, repair: Repair, statuses: Sequence[int]) -> int:
    stuck = await database.transact(find_stuck, repair=repair, statuses=statuses)
    if repair.is_dry:
        if stuck.counts:
            print_table(
                ("MESSAGE SET", "STATUS", "STUCK"),
                [(one.short_name, str(one.process_status), str(one.count)) for one in stuck.counts],
            )
        say(f"{stuck.meant} would be reset")
        return OK
    done = await reset_stuck(
        database, repair=repair, stuck=stuck, statuses=statuses, progress=progress
    )
    say(f"{done.reset} reset")
    if done.left:
        say(f"{done.left} not reset: they were changed meanwhile, or they are locked")
    return OK
