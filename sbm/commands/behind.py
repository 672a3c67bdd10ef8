"""``sbm behind``: find and repair subscriptions that have had fewer messages than expected."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from sbm.commands.running import (
    OK,
    CommandFailed,
    Work,
    add_signature,
    discard_output,
    in_database,
    print_above,
    progress,
    say,
    signature_from,
)
from sbm.commands.selecting import row_id, whole_number
from sbm.model.behind import BehindRecord
from sbm.operations.behind import (
    Expectation,
    MomentTooFar,
    fast_forward,
    list_behind,
    send_to_behind,
)
from sbm.operations.selection import Filters, Repair
from sbm.settings.config import read_time_zones
from sbm.settings.reading import Settings
from sbm.store.postgres.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``behind`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    diff = verbs.add_parser(
        "diff",
        help="show the subscriptions that are behind, and what fast-forward would do",
        description="Print a line of JSON for each subscription that is behind: where it is,"
        " where it should be, and what fast-forward would do to it. Changes nothing.",
    )
    _add_choice(diff)
    diff.set_defaults(command=in_database(_diff))

    send = verbs.add_parser(
        "send",
        help="send one message to each subscription that is behind",
        description="Owe the next message to each subscription that is behind. The daemons send"
        " it. Subscriptions that are owed a message already are skipped.",
    )
    _add_choice(send)
    _add_repair(send)
    send.set_defaults(command=in_database(_send))

    forward = verbs.add_parser(
        "fast-forward",
        help="move each subscription that is behind to where it should be",
        description="Move each subscription that is behind to where it should be, through the sets"
        " that follow. Nothing is sent: the messages between are never sent.",
    )
    _add_choice(forward)
    _add_repair(forward)
    forward.set_defaults(command=in_database(_fast_forward))


def _add_choice(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--message-set",
        metavar="NAME-OR-ID",
        help="only subscriptions that are in this message set now",
    )
    verb.add_argument(
        "--schedule",
        metavar="ID",
        type=row_id,
        help="only subscriptions that are on this schedule now",
    )
    verb.add_argument(
        "--limit", metavar="N", type=whole_number, help="at most this number of subscriptions"
    )
    verb.add_argument(
        "--end-date",
        metavar="MOMENT",
        type=_moment,
        help="find out where subscriptions should be at this time, such as 2026-11-30 (the start"
        " of the day) or 2026-11-30T08:00, in SBM_TIMEZONE (default: now)",
    )


def _add_repair(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only print what would be done")
    add_signature(verb)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a date, or a date and a time, such as 2026-11-30 or 2026-11-30T08:00"
        ) from None
    return moment


def _filters(options: argparse.Namespace) -> Filters:
    return Filters(messageset=options.message_set, schedule_id=options.schedule)


def _repair(options: argparse.Namespace) -> Repair:
    return Repair(
        filters=_filters(options),
        limit=options.limit,
        is_dry=options.dry_run,
        signature=signature_from(options),
    )


def _expectation(options: argparse.Namespace) -> Expectation:
    settings = Settings(environ=options.environ)
    zones = read_time_zones(settings)
    settings.check()
    as_of: datetime | None = options.end_date
    if as_of is not None and as_of.tzinfo is None:
        as_of = as_of.replace(tzinfo=zones.default)
    return Expectation(zones=zones, as_of=as_of)


@contextmanager
def _options_named() -> Iterator[None]:
    """Put the name of the option into the message if an operation refuses its value."""
    try:
        yield
    except MomentTooFar as error:
        raise CommandFailed(f"--end-date {error}") from None


def _diff(options: argparse.Namespace) -> Work:
    return partial(
        _print_those_behind,
        expectation=_expectation(options),
        filters=_filters(options),
        limit=options.limit,
    )


async def _print_those_behind(
    database: Database, *, expectation: Expectation, filters: Filters, limit: int | None
) -> int:
    try:
        with _options_named():
            count = await list_behind(
                database,
                expectation=expectation,
                filters=filters,
                limit=limit,
                tell=lambda one: print_above(_json(one)),
                progress=progress,
            )
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return OK
    say(f"{count.done} behind", file=sys.stderr)
    return OK


def _send(options: argparse.Namespace) -> Work:
    return partial(_send_to_those, expectation=_expectation(options), repair=_repair(options))


async def _send_to_those(database: Database, *, expectation: Expectation, repair: Repair) -> int:
    with _options_named():
        count = await send_to_behind(
            database,
            expectation=expectation,
            repair=repair,
            tell=lambda one: print_above(_send_line(one)) if repair.is_dry else None,
            progress=progress,
        )
    say(
        f"{count.done} would be owed a message" if repair.is_dry else f"{count.done} owed a message"
    )
    _tell_skipped(count.skipped)
    return OK


def _fast_forward(options: argparse.Namespace) -> Work:
    return partial(_move_those, expectation=_expectation(options), repair=_repair(options))


async def _move_those(database: Database, *, expectation: Expectation, repair: Repair) -> int:
    with _options_named():
        count = await fast_forward(
            database,
            expectation=expectation,
            repair=repair,
            tell=lambda one: print_above(_move_line(one)) if repair.is_dry else None,
            progress=progress,
        )
    done, begun = count.done, count.begun
    if repair.is_dry:
        say(f"{done} would be moved; subscriptions to next sets that would be made: {begun}")
    else:
        say(f"{done} moved; subscriptions to next sets that were made: {begun}")
    _tell_skipped(count.skipped)
    return OK


def _tell_skipped(skipped: Counter[str]) -> None:
    for reason, count in skipped.most_common():
        say(f"{count} skipped: {reason}")


def _json(one: BehindRecord) -> str:
    *_, end = one.path
    return json.dumps(
        {
            "subscription": str(one.id),
            "identity": one.identity,
            "lang": one.lang,
            "messages_behind": one.messages_behind,
            "current_messageset": one.messageset_id,
            "current_messageset_name": one.messageset_name,
            "current_sequence_number": one.next_sequence_number,
            "expected_messageset": end.messageset_id,
            "expected_messageset_name": end.messageset_name,
            "expected_sequence_number": end.next_sequence_number,
            "expected_completed": end.completed,
            "fast_forward": [
                {
                    "subscription": None if place else str(one.id),
                    "messageset": step.messageset_id,
                    "messageset_name": step.messageset_name,
                    "next_sequence_number": step.next_sequence_number,
                    "completed": step.completed,
                    "created_at": step.since.isoformat(),
                }
                for place, step in enumerate(one.path)
            ],
            "held_back": one.held_back,
        },
        ensure_ascii=False,
    )


def _send_line(one: BehindRecord) -> str:
    where = f"{one.messageset_name} {one.next_sequence_number}"
    return f"{one.id}: {where}, {one.messages_behind} behind"


def _move_line(one: BehindRecord) -> str:
    *_, end = one.path
    there = f"{end.messageset_name} {end.next_sequence_number}"
    completed = ", completed" if end.completed else ""
    return (
        f"{one.id}: {one.messageset_name} {one.next_sequence_number} to {there}{completed},"
        f" {one.messages_behind} behind"
    )
