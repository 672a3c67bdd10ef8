"""``sbm export``: everything that is stored about a person, as JSON."""

from __future__ import annotations

import argparse
import json
from functools import partial

from sbm.commands.forget import identity
from sbm.commands.running import OK, Work, in_database, say
from sbm.model.person import Person
from sbm.operations import privacy
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export`` to its parser."""
    parser.description = (
        "Print everything that is stored about a person as one JSON object: the rows by table, with"
        " times in UTC."
    )
    parser.add_argument(
        "--identity", metavar="IDENTITY", required=True, type=identity, help="the identity"
    )
    parser.set_defaults(command=in_database(_export))


def _export(options: argparse.Namespace) -> Work:
    return partial(_print, person=options.identity)


async def _print(database: Database, *, person: Person) -> int:
    """The rows are printed as they are read, so that they need little memory."""
    async for piece in privacy.written(database, person=person, write=json.dumps):
        say(piece, end="")
    say()
    return OK
