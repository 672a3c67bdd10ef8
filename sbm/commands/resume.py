"""``sbm resume``: end pauses, so that the daemons work and send again."""

from __future__ import annotations

import argparse
from functools import partial

from attrs import frozen

from sbm.commands.running import OK, Work, add_signature, in_database, say, signature_from
from sbm.commands.selecting import add_scope, row_id, scope_filters
from sbm.model.pause import Pause
from sbm.model.send_pause import PauseScope, SendPause
from sbm.model.signature import Signature
from sbm.operations.pausing import resume_sends
from sbm.operations.restored import resume
from sbm.operations.selection import Filters, select
from sbm.store import send_pauses
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction


@frozen(kw_only=True)
class WantedEnd:
    """Which pauses to end: those of exactly this scope, the one with this id, or all of sends."""

    filters: Filters
    lane: str | None
    pause_id: int | None
    is_all: bool
    without_repair: bool
    signature: Signature

    @property
    def is_of_programme(self) -> bool:
        """Whether no part of the programme is named."""
        return self.filters == Filters() and self.lane is None and self.pause_id is None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``resume`` to its parser."""
    parser.description = (
        "End pauses. Without options, those of the whole programme: that of `sbm pause` without"
        " options, that of SBM_PAUSED, and that of a database that went back to an earlier state,"
        " for which `sbm restored` has to be run first. With the options of a pause, the pauses of"
        " sends that were begun with exactly these. The daemons notice it within a second. Prints"
        " the pauses that have ended, and those that go on."
    )
    add_scope(parser)
    parser.add_argument("--pause", metavar="ID", type=row_id, help="only the pause with this id")
    parser.add_argument(
        "--all", action="store_true", help="also the pauses of schedules, message sets and lanes"
    )
    parser.add_argument(
        "--without-repair",
        action="store_true",
        help="also if the database went back and `sbm restored` was not run to its end: messages"
        " that were sent already may be sent again",
    )
    add_signature(parser)
    parser.set_defaults(command=in_database(_resume), misused=parser.error)


def _resume(options: argparse.Namespace) -> Work:
    is_of_scope = scope_filters(options) != Filters() or options.lane is not None
    if is_of_scope + (options.pause is not None) + options.all > 1:
        options.misused("give one of --pause, --all, or the options of a pause")
    wanted = WantedEnd(
        filters=scope_filters(options),
        lane=options.lane,
        pause_id=options.pause,
        is_all=options.all,
        without_repair=options.without_repair,
        signature=signature_from(options),
    )
    return partial(_end_and_tell, wanted=wanted)


async def _end_and_tell(database: Database, *, wanted: WantedEnd) -> int:
    of_daemons, of_sends, left = await database.transact(_end, wanted=wanted)
    ended = [*map(_told, of_daemons), *map(_told_of_sends, of_sends)]
    for line in ended:
        say(line)
    if len(ended) == 1:
        say("this pause has ended")
    else:
        say(f"these {len(ended)} pauses have ended" if ended else "there was no such pause")
    for pause in left:
        say(f"still paused: {_told_of_sends(pause)}")
    return OK


async def _end(
    transaction: Transaction, *, wanted: WantedEnd
) -> tuple[list[Pause], list[SendPause], list[SendPause]]:
    """The pauses of daemons and of sends that have ended, and those of sends that go on."""
    selected = await select(transaction, filters=wanted.filters)
    scope = PauseScope(
        lane=wanted.lane,  # type: ignore[arg-type]  # one of the choices
        schedule_id=selected.schedule_id,
        messageset_id=selected.messageset_id,
    )
    of_daemons = []
    if wanted.is_of_programme:
        of_daemons = await resume(
            transaction, signature=wanted.signature, without_repair=wanted.without_repair
        )
    open_pauses = await send_pauses.list_open(transaction)
    if wanted.pause_id is not None:
        meant = [one for one in open_pauses if one.id == wanted.pause_id]
    else:
        meant = [one for one in open_pauses if wanted.is_all or one.scope == scope]
    ended = await resume_sends(transaction, pauses=meant, signature=wanted.signature)
    return of_daemons, ended, [one for one in open_pauses if one not in ended]


def _told(pause: Pause) -> str:
    return f"since {pause.since.isoformat(timespec='seconds')}: {pause.reason}"


def _told_of_sends(pause: SendPause) -> str:
    since = pause.since.isoformat(timespec="seconds")
    reason = f": {pause.reason}" if pause.reason else ""
    return f"pause {pause.id} of {pause.scope}, since {since}, by {pause.paused_by}{reason}"
