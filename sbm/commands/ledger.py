"""``sbm ledger``: what became of each send, and the texts as they were sent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any
from uuid import UUID

from attrs import asdict, fields

from sbm.commands.running import OK, CommandFailed, Work, in_database, print_table, say
from sbm.model.csv_text import csv_lines
from sbm.model.identity import canonical_uuid
from sbm.model.ledger_entry import (
    OUTCOMES,
    REASON_KINDS,
    STAGES,
    LedgerEntry,
    LedgerFilter,
    MessageVersion,
)
from sbm.model.paging import PageRequest
from sbm.operations import ledger as operation
from sbm.store import ledger
from sbm.store.postgres.database import Database

_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``ledger`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = verbs.add_parser(
        "list",
        help="list rows of the ledger, the newest first",
        description="List the newest rows that match. Filters that no index serves together are"
        " refused. With --csv, all rows that match are printed.",
    )
    listing.add_argument("--identity", metavar="ID", type=_identity, help="only of this person")
    listing.add_argument("--subscription", metavar="UUID", type=UUID, help="only of this one")
    listing.add_argument("--tick", metavar="ID", type=_number, help="only of this tick")
    listing.add_argument(
        "--messageset", metavar="ID", type=_number, help="only of this message set"
    )
    listing.add_argument(
        "--number", metavar="N", type=_number, help="only of this number in the set"
    )
    listing.add_argument("--lang", help="only in this language")
    listing.add_argument(
        "--version", metavar="ID", type=_number, help="only with this version of a message"
    )
    listing.add_argument("--outcome", choices=OUTCOMES, help="only with this outcome")
    listing.add_argument("--stage", choices=STAGES, help="with --outcome: how far it came")
    listing.add_argument(
        "--reason-kind", choices=tuple(REASON_KINDS), help="only for such a reason"
    )
    listing.add_argument(
        "--undelivered", action="store_true", help="only what was sent and not delivered"
    )
    listing.add_argument("--after", metavar="TIME", type=_moment, help="only at this time or later")
    listing.add_argument(
        "--before", metavar="TIME", type=_moment, help="only at this time or before"
    )
    listing.add_argument(
        "--limit", metavar="N", type=_count, default=_SHOWN, help=f"how many (default: {_SHOWN})"
    )
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object for each line")
    form.add_argument("--csv", action="store_true", help="print all rows that match, as CSV")
    listing.set_defaults(command=in_database(_list))

    versions = verbs.add_parser(
        "versions",
        help="list the contents that a message has had",
        description="List the versions of a message, the newest first. `ledger list --version ID`"
        " then lists those who got one.",
    )
    versions.add_argument("message", metavar="MESSAGE", type=_number, help="the id of the message")
    versions.set_defaults(command=in_database(_versions))


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number


def _number(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**63:
        raise argparse.ArgumentTypeError("is larger than any number that is stored")
    return number


def _identity(text: str) -> str:
    """A UUID in its stored spelling; others stay as they are."""
    return canonical_uuid(text) or text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def _list(options: argparse.Namespace) -> Work:
    wanted = LedgerFilter(
        identity=options.identity,
        subscription_id=options.subscription,
        tick_id=options.tick,
        messageset_id=options.messageset,
        sequence_number=options.number,
        lang=options.lang,
        message_version_id=options.version,
        outcome=options.outcome,
        stage=options.stage,
        reason_kind=options.reason_kind,
        delivered=False if options.undelivered else None,
        settled_after=options.after,
        settled_before=options.before,
    )
    if options.csv:
        return partial(_print_csv, wanted=wanted)
    return partial(_list_those, wanted=wanted, limit=options.limit, is_json=options.json)


async def _print_csv(database: Database, *, wanted: LedgerFilter) -> int:
    first = await database.read(operation.list_page, wanted=wanted, limit=operation.CHUNK)
    sys.stdout.write(csv_lines([[one.name for one in fields(LedgerEntry)]]))
    async for rows in operation.pages(database, wanted=wanted, first=first):
        sys.stdout.write(csv_lines(list(asdict(row).values()) for row in rows))
    return OK


async def _list_those(
    database: Database, *, wanted: LedgerFilter, limit: int, is_json: bool
) -> int:
    page = await database.read(operation.list_page, wanted=wanted, limit=limit)
    if is_json:
        for one in page.rows:
            say(json.dumps(asdict(one), ensure_ascii=False, default=_written))
        return OK
    print_table(
        ("AT", "IDENTITY", "SET", "NUMBER", "LANG", "OUTCOME", "STAGE", "DELIVERED", "REASON"),
        [_line(one) for one in page.rows],
    )
    if page.more:
        say(f"the newest {limit}; there are more")
    return OK


def _line(one: LedgerEntry) -> Sequence[str]:
    return (
        one.settled_at.isoformat(" ", "seconds"),
        one.identity,
        _told(one.messageset_id),
        _told(one.sequence_number),
        _told(one.lang),
        one.outcome,
        one.stage,
        {None: "", True: "yes", False: "no"}[one.delivered],
        one.reason or one.nack_reason or "",
    )


def _told(value: Any) -> str:
    return "" if value is None else str(value)


def _written(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _versions(options: argparse.Namespace) -> Work:
    return partial(_list_versions, message_id=options.message)


async def _list_versions(database: Database, *, message_id: int) -> int:
    page = await database.read(
        ledger.list_versions, page=PageRequest(limit=10_000), message_id=message_id
    )
    if not page.rows:
        raise CommandFailed(f"message {message_id} has no versions")
    print_table(
        ("VERSION", "SINCE", "UNTIL", "BY", "PLACE", "FILE", "TEXT"), map(_version, page.rows)
    )
    return OK


def _version(one: MessageVersion) -> Sequence[str]:
    return (
        str(one.id),
        one.made_at.isoformat(" ", "seconds"),
        one.replaced_at.isoformat(" ", "seconds") if one.replaced_at else "",
        one.made_by or "",
        f"{one.messageset_id}/{one.lang}/{one.sequence_number}",
        one.file_name or "",
        one.text_content or "",
    )
