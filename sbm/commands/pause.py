"""``sbm pause``: send nothing of the programme, a message set, a schedule or a lane."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from functools import partial
from typing import get_args

from attrs import frozen
from twisted.internet.task import deferLater

from sbm.commands.running import OK, Work, add_signature, in_database, say, signature_from
from sbm.commands.selecting import add_scope, moment, scope_filters
from sbm.model.send_pause import OnTicks, PauseScope, SendPause
from sbm.model.signature import Signature
from sbm.operations.pausing import pause_sends
from sbm.operations.selection import Filters, select
from sbm.store import send_pauses
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import RowLocked
from sbm.store.postgres.transaction import Transaction

LOOK_SECONDS = 0.2

# The server ends a session that does nothing in a transaction after 20 seconds.
PATIENCE_SECONDS = 30.0


@frozen(kw_only=True)
class WantedPause:
    """The pause that is wanted, and whether to wait until it is in force."""

    filters: Filters
    lane: str | None
    on_ticks: OnTicks
    until: datetime | None
    signature: Signature
    waits: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pause`` to its parser."""
    parser.description = (
        "Pause sends: all of the programme, or those that match all the options that are given. The"
        " API and the webhook go on, and what is owed stays. The command ends when no message of it"
        " can go out any more, or else says how many are in hand; that takes one lease"
        " (SBM_LEASE_SECONDS) at the longest. End the pause with `sbm resume`."
    )
    add_scope(parser)
    parser.add_argument(
        "--on-ticks",
        choices=get_args(OnTicks),
        default="later",
        help="what becomes of ticks that come meanwhile: each person gets one message at most when"
        " the pause ends (later, the default), or none (skip)",
    )
    parser.add_argument(
        "--until", metavar="TIME", type=moment, help="when it ends by itself (default: never)"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait until the pause is in force"
    )
    add_signature(parser, is_reason_required=True)
    parser.set_defaults(command=in_database(_pause))


def _pause(options: argparse.Namespace) -> Work:
    wanted = WantedPause(
        filters=scope_filters(options),
        lane=options.lane,
        on_ticks=options.on_ticks,
        until=options.until,
        signature=signature_from(options),
        waits=not options.no_wait,
    )
    return partial(_begin_and_wait, wanted=wanted)


async def _begin_and_wait(database: Database, *, wanted: WantedPause) -> int:
    pause_id = await _begun(database, wanted)
    began_at = time.monotonic()
    pause = await database.transact(_look, pause_id=pause_id, seen_for=timedelta(0))
    told = -1
    while wanted.waits and pause is not None and pause.state == "pausing":
        if pause.in_hand != told:
            say(f"pausing {pause.scope}: {pause.in_hand} sends are in hand", flush=True)
            told = pause.in_hand
        await deferLater(database.reactor, LOOK_SECONDS)
        seen_for = timedelta(seconds=time.monotonic() - began_at)
        pause = await database.transact(_look, pause_id=pause_id, seen_for=seen_for)
    if pause is not None:
        say(f"pause {pause.id} of {pause.scope}: {_state(pause)}")
    return OK


async def _begun(database: Database, wanted: WantedPause) -> int:
    """Begin the pause. If a daemon hangs within a claim, the server ends that claim some time."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await database.transact(_begin, wanted=wanted)
        except RowLocked:
            if time.monotonic() > give_up_at:
                raise
            say("a daemon hangs while it claims sends: waiting for it", flush=True)


async def _begin(transaction: Transaction, *, wanted: WantedPause) -> int:
    selected = await select(transaction, filters=wanted.filters)
    return await pause_sends(
        transaction,
        scope=PauseScope(
            lane=wanted.lane,  # type: ignore[arg-type]  # one of the choices
            schedule_id=selected.schedule_id,
            messageset_id=selected.messageset_id,
        ),
        on_ticks=wanted.on_ticks,
        until=wanted.until,
        signature=wanted.signature,
    )


async def _look(
    transaction: Transaction, *, pause_id: int, seen_for: timedelta
) -> SendPause | None:
    """Put the pause in force if it can be: perhaps no daemon runs that would do it."""
    await send_pauses.finish(transaction, seen_for={pause_id: seen_for})
    return await send_pauses.find(transaction, pause_id=pause_id)


def _state(pause: SendPause) -> str:
    if pause.state == "paused":
        return "paused: no message of it goes out"
    return f"{pause.state}; {pause.in_hand} sends are in hand"
