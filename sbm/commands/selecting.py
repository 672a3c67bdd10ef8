"""The options of all commands that change many subscriptions: which ones, and how many."""

from __future__ import annotations

import argparse
import re
from datetime import datetime
from typing import get_args

from sbm.commands.running import add_signature, signature_from
from sbm.model.ids import LARGEST_ID
from sbm.model.send import Lane
from sbm.operations.selection import Filters, Repair


def add_selection(verb: argparse.ArgumentParser) -> None:
    """Add the options that select subscriptions, and those that say who does it and why."""
    verb.add_argument(
        "--message-set", metavar="SET", help="only in this message set, by short name or id"
    )
    verb.add_argument("--lang", metavar="LANG", type=not_blank, help="only in this language")
    verb.add_argument("--schedule", metavar="ID", type=row_id, help="only on this schedule")
    verb.add_argument(
        "--limit", metavar="N", type=whole_number, help="at most this number of subscriptions"
    )
    verb.add_argument(
        "--all", action="store_true", help="all subscriptions; required if there is no filter"
    )
    verb.add_argument("--dry-run", action="store_true", help="only print what would be done")
    add_signature(verb)
    verb.set_defaults(misused=verb.error)


def add_scope(verb: argparse.ArgumentParser) -> None:
    """Add the options that say which sends a pause concerns."""
    verb.add_argument("--message-set", metavar="SET", help="of this message set: short name or id")
    verb.add_argument("--schedule", metavar="ID", type=row_id, help="to subscriptions on it")
    verb.add_argument("--lane", choices=get_args(Lane), help="only single sends, or those of ticks")


def scope_filters(options: argparse.Namespace) -> Filters:
    """The message set and the schedule of these options."""
    return Filters(messageset=options.message_set, schedule_id=options.schedule)


def repair_from(options: argparse.Namespace, *filters: object) -> Repair:
    """The values of the options; ``filters`` are the command's own.

    Without a filter, ``--all`` is required.
    """
    given = (options.message_set, options.lang, options.schedule, *filters)
    if not (options.dry_run or options.all or any(one is not None for one in given)):
        options.misused("give a filter, or else --all")
    return Repair(
        filters=Filters(
            messageset=options.message_set, lang=options.lang, schedule_id=options.schedule
        ),
        limit=options.limit,
        is_dry=options.dry_run,
        signature=signature_from(options),
    )


def row_id(text: str) -> int:
    """An id from the command line."""
    number = whole_number(text)
    if number > LARGEST_ID:
        raise argparse.ArgumentTypeError("no row can have this id")
    return number


def whole_number(text: str) -> int:
    """A whole number, at least 1."""
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


def moment(text: str) -> datetime:
    """A date and a time with its time zone."""
    found: datetime | None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError(
            "must be a time with its time zone, such as 2026-11-28T05:00:00Z"
        )
    return found


def not_blank(text: str) -> str:
    """A text that is not blank."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be blank")
    return text.strip()
