"""``sbm release``: let a tick go on that its brake or its canary holds back."""

from __future__ import annotations

import argparse
from functools import partial

from sbm.commands.running import (
    OK,
    CommandFailed,
    Work,
    add_signature,
    in_database,
    say,
    signature_from,
)
from sbm.commands.selecting import row_id
from sbm.model.signature import Signature
from sbm.operations.refusals import NoSuchRow
from sbm.operations.releases import release_tick
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``release`` to its parser."""
    parser.description = (
        "Let a tick go on that was stopped by its brake, or waits after its canary; `sbm status`"
        " shows them. The brake counts anew from now on."
    )
    parser.add_argument("tick", metavar="TICK", type=row_id, help="the id of the tick")
    add_signature(parser)
    parser.set_defaults(command=in_database(_release))


def _release(options: argparse.Namespace) -> Work:
    return partial(_tell, tick_id=options.tick, signature=signature_from(options))


async def _tell(database: Database, *, tick_id: int, signature: Signature) -> int:
    try:
        hold = await database.transact(release_tick, tick_id=tick_id, signature=signature)
    except NoSuchRow:
        raise CommandFailed(f"there is no tick {tick_id}") from None
    say(f"tick {tick_id} goes on" if hold else f"tick {tick_id} waited for no release")
    return OK
