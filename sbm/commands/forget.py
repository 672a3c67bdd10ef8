"""``sbm forget``: delete or mark everything about a person."""

from __future__ import annotations

import argparse
from datetime import timedelta
from functools import partial

from sbm.commands.running import (
    FAILED,
    OK,
    Work,
    add_signature,
    in_database,
    print_table,
    say,
)
from sbm.model.person import Person
from sbm.operations import privacy
from sbm.store.postgres.database import Database

_WAIT_SECONDS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forget`` to its parser."""
    parser.description = (
        "Delete everything about a person. What the sums need stays, with a random mark in place of"
        " the identity. If a message is being sent to the person, the command waits until it is"
        " known whether it was sent; if the wait is over before, it says what remains, and exits"
        " with 1. It is safe to repeat it. It cannot be undone."
    )
    parser.add_argument("identity", metavar="IDENTITY", type=identity, help="the identity")
    parser.add_argument(
        "--dry-run", action="store_true", help="only count the rows, and change nothing"
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=_seconds,
        default=_WAIT_SECONDS,
        help=f"how long to wait for other services (default: {_WAIT_SECONDS})",
    )
    add_signature(parser)
    parser.set_defaults(command=in_database(_forget))


def identity(text: str) -> Person:
    """A person, from an argument."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be blank")
    return Person(identity=text.strip())


def _seconds(text: str) -> timedelta:
    seconds = float(text)
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("must be from 0 to 86400")
    return timedelta(seconds=seconds)


def _forget(options: argparse.Namespace) -> Work:
    if options.dry_run:
        return partial(_count, person=options.identity)
    wait = options.wait if isinstance(options.wait, timedelta) else timedelta(seconds=options.wait)
    return partial(_tell, person=options.identity, wait=wait)


async def _count(database: Database, *, person: Person) -> int:
    _print_counts(await privacy.count(database, person=person), "ROWS")
    return OK


async def _tell(database: Database, *, person: Person, wait: timedelta) -> int:
    assert database.author is not None
    forgotten = await privacy.forget(
        database, person=person, author=database.author, wait=wait, remains=_print_remaining
    )
    _print_counts(forgotten, "DELETED OR MARKED")
    say(f"the mark is {forgotten.mark}")
    return FAILED if forgotten.remaining else OK


def _print_remaining(remaining: dict[str, int]) -> None:
    told = ", ".join(f"{name}: {count}" for name, count in remaining.items())
    say(f"waiting for other services: {told}", flush=True)


def _print_counts(forgotten: privacy.Forgotten, heading: str) -> None:
    if forgotten.counts:
        print_table(
            ("TABLE", heading),
            [(table, str(count)) for table, count in forgotten.counts.items()],
        )
    else:
        say("nothing about this person")
