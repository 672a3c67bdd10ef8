"""``sbm resume``: end all pauses, so that the daemons work again."""

from __future__ import annotations

import argparse
from functools import partial

from sbm.commands.running import OK, Work, add_signature, in_database, signature_from
from sbm.model.signature import Signature
from sbm.operations.restored import resume
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``resume`` to its parser."""
    parser.description = (
        "End all pauses: that of SBM_PAUSED, and that of a database that went back to an earlier"
        " state, for which `sbm restored` has to be run first. The daemons notice it within a"
        " second. Prints the pauses that have ended."
    )
    parser.add_argument(
        "--without-repair",
        action="store_true",
        help="also if the database went back and `sbm restored` was not run to its end: messages"
        " that were sent already may be sent again",
    )
    add_signature(parser)
    parser.set_defaults(command=in_database(_resume))


def _resume(options: argparse.Namespace) -> Work:
    return partial(
        _end_pauses, signature=signature_from(options), without_repair=options.without_repair
    )


async def _end_pauses(database: Database, *, signature: Signature, without_repair: bool) -> int:
    ended = await database.transact(resume, signature=signature, without_repair=without_repair)
    for pause in ended:
        print(f"since {pause.since.isoformat(timespec='seconds')}: {pause.reason}")
    if len(ended) == 1:
        print("this pause has ended")
    else:
        print(f"these {len(ended)} pauses have ended" if ended else "there was no pause")
    return OK
