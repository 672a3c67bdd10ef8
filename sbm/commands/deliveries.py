"""``sbm delivery``: what reached people's phones, as the Message Sender says."""

from __future__ import annotations

import argparse
from datetime import date
from functools import partial

from sbm.commands.running import OK, Work, in_database, print_table, say
from sbm.model.paging import PageRequest
from sbm.store import deliveries
from sbm.store.postgres.database import Database

_SHOWN = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``delivery`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    counts = verbs.add_parser(
        "counts",
        help="count what was delivered",
        description="Count the messages that were looked at again, and those of them that were"
        " delivered, by day, message set and language, the newest days first; and print how far"
        " the outbounds were looked at.",
    )
    counts.add_argument("--messageset", metavar="ID", type=int, help="only of this message set")
    counts.add_argument("--lang", help="only in this language")
    counts.add_argument("--after", metavar="DAY", type=date.fromisoformat, help="from this day on")
    counts.add_argument("--before", metavar="DAY", type=date.fromisoformat, help="up to this day")
    counts.set_defaults(command=in_database(_counts))

    people = verbs.add_parser(
        "people",
        help="list people whose last messages were not delivered",
        description=f"List the {_SHOWN} people with the most undelivered messages in a row.",
    )
    people.add_argument(
        "--in-row", metavar="N", type=_count, default=1, help="at least so many (default: 1)"
    )
    people.set_defaults(command=in_database(_people))


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number


def _counts(options: argparse.Namespace) -> Work:
    return partial(
        _print_counts,
        messageset_id=options.messageset,
        lang=options.lang,
        after=options.after,
        before=options.before,
    )


async def _print_counts(
    database: Database,
    *,
    messageset_id: int | None,
    lang: str | None,
    after: date | None,
    before: date | None,
) -> int:
    page = await database.read(
        deliveries.list_counts,
        page=PageRequest(limit=_SHOWN),
        messageset_id=messageset_id,
        lang=lang,
        day_after=after,
        day_before=before,
    )
    print_table(
        ("DAY", "SET", "LANG", "SEEN", "DELIVERED", "SHARE", "FINAL"),
        [
            (
                one.day.isoformat(),
                str(one.messageset_id),
                one.lang,
                str(one.seen),
                str(one.delivered),
                f"{one.delivered / one.seen:.1%}" if one.seen else "",
                str(one.final),
            )
            for one in page.rows
        ],
    )
    if page.more:
        say(f"the newest {_SHOWN} of {page.count}")
    for read in await database.read(deliveries.list_places):
        until = "not begun" if read.place is None else read.place.isoformat(" ", "seconds")
        say(f"{read.look} look: {until}")
    return OK


def _people(options: argparse.Namespace) -> Work:
    return partial(_print_people, in_row=options.in_row)


async def _print_people(database: Database, *, in_row: int) -> int:
    page = await database.read(
        deliveries.list_people, page=PageRequest(limit=_SHOWN), in_row=in_row
    )
    print_table(
        ("IDENTITY", "IN A ROW", "SINCE", "LAST"),
        [
            (
                one.identity,
                str(one.in_row),
                one.since.isoformat(" ", "seconds"),
                one.last_at.isoformat(" ", "seconds"),
            )
            for one in page.rows
        ],
    )
    say(f"{page.count} people")
    return OK
