"""``sbm restored``: repair a database that was restored from a dump."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from functools import partial

from twisted.internet.defer import Deferred

from sbm.clients.message_sender import MessageSender
from sbm.clients.outcomes import CannotBeAsked, Unavailable
from sbm.clients.service_client import ServiceClient
from sbm.commands.running import (
    FAILED,
    OK,
    CommandFailed,
    Work,
    add_signature,
    in_database,
    progress,
    say,
    signature_from,
)
from sbm.commands.selecting import moment
from sbm.model.durations import RequestTimeout
from sbm.operations.restored import Restoration, RestoredCount, repair, time_of_dump
from sbm.settings.config import read_lease, read_message_sender, read_time_zones_of_ticks
from sbm.settings.endpoints import ServiceAddress
from sbm.settings.reading import Settings
from sbm.store.postgres.database import Database

_TIMEOUT = RequestTimeout(timedelta(seconds=60))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``restored`` to its parser."""
    parser.description = (
        "Repair a database that was restored from a dump, so that nobody gets a message twice."
        " What is owed or claimed becomes unknown, and the Message Sender is asked about it. Ticks"
        " of the built-in clock since the dump are recorded as missed. Outbounds that the Message"
        " Sender has since the dump, and that the database does not know, are recorded in the"
        " ledger, and their subscriptions go on. All daemons are paused until `sbm resume`. Without"
        " --yes, only print what would be done. Safe to repeat, and to interrupt. Reads the same"
        " settings as the daemon."
    )
    parser.add_argument("--yes", action="store_true", help="do it, and not only print it")
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=moment,
        help="when the dump was made, such as 2026-11-28T05:00:00Z (default: when the daemons last"
        " worked with this database)",
    )
    parser.add_argument(
        "--new-installation",
        action="store_true",
        help="give this database an installation id of its own, because the one from which it was"
        " copied stays in use; for example for a staging system",
    )
    parser.add_argument(
        "--without-list",
        action="store_true",
        help="do not ask the Message Sender what was sent since, because it offers no list: what"
        " the database has lost stays lost, and is sent again",
    )
    add_signature(parser)
    parser.set_defaults(command=in_database(_restored))


def _restored(options: argparse.Namespace) -> Work:
    settings = Settings(environ=options.environ)
    address = read_message_sender(settings)
    wanted = Restoration(
        since=options.since,
        lease=read_lease(settings),
        zones=read_time_zones_of_ticks(settings),
        is_new_installation=options.new_installation,
        is_dry=not options.yes,
        without_list=options.without_list,
        signature=signature_from(options),
    )
    settings.check()
    return partial(_repair, address=address, wanted=wanted)


async def _repair(database: Database, *, address: ServiceAddress, wanted: Restoration) -> int:
    client = ServiceClient(reactor=database.reactor, address=address, timeout=_TIMEOUT)
    try:
        since = await time_of_dump(database, since=wanted.since)
        count = await repair(
            database, MessageSender(client=client), wanted=wanted, progress=progress
        )
    except CannotBeAsked as error:
        raise CommandFailed(f"{error} (with --without-list, it is not asked)") from None
    except Unavailable as error:
        raise CommandFailed(str(error)) from None
    finally:
        stopped: Deferred[None] = client.stopService()
        await stopped
    _tell(count, since=since, is_dry=wanted.is_dry)
    return FAILED if count.left else OK


def _tell(count: RestoredCount, *, since: datetime, is_dry: bool) -> None:
    would = "would be " if is_dry else ""
    say(f"the database is of {since.isoformat(timespec='seconds')}")
    say(f"{count.doubted} sends that were owed or claimed {would or 'are '}asked about")
    say(f"{count.missed} ticks of the built-in clock {would or 'are '}recorded as missed")
    say(
        f"{count.adopted} of {count.outbounds} outbounds since then were not known, and"
        f" {would or 'are '}recorded as sent"
    )
    if count.superseded:
        say(f"{count.superseded} older sends are skipped: a later message was sent")
    if count.left:
        say(f"{count.left} outbounds are left, because rows were locked: run it again")
    if is_dry:
        say("nothing was changed; --yes does it")
    else:
        say("all daemons are paused: `sbm resume` lets them work")
