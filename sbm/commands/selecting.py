"""The options that commands share which change many subscriptions: whom they mean, how many."""

from __future__ import annotations

import argparse
import re

from sbm.commands.running import add_signature, signature_from
from sbm.model.ids import LARGEST_ID
from sbm.operations.selection import Filters, Repair


def add_selection(verb: argparse.ArgumentParser) -> None:
    """Add the options that say whom a command means, how many, and who does it why."""
    verb.add_argument("--message-set", metavar="SET", help="of this one, by short name or id")
    verb.add_argument("--lang", metavar="LANG", type=_not_blank, help="in this language")
    verb.add_argument("--schedule", metavar="ID", type=row_id, help="on this schedule")
    verb.add_argument("--limit", metavar="N", type=whole_number, help="so many at most")
    verb.add_argument("--all", action="store_true", help="all of them; needed without a filter")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    add_signature(verb)
    verb.set_defaults(misused=verb.error)


def repair_from(options: argparse.Namespace, *filters: object) -> Repair:
    """What the options say; ``filters`` are the command's own.

    To change everybody is misuse, unless that was said.
    """
    given = (options.message_set, options.lang, options.schedule, *filters)
    if not (options.dry_run or options.all or any(one is not None for one in given)):
        options.misused("say which are meant by a filter, or else --all")
    return Repair(
        filters=Filters(
            messageset=options.message_set, lang=options.lang, schedule_id=options.schedule
        ),
        limit=options.limit,
        is_dry=options.dry_run,
        signature=signature_from(options),
    )


def row_id(text: str) -> int:
    """An id as operators write it."""
    number = whole_number(text)
    if number > LARGEST_ID:
        raise argparse.ArgumentTypeError("no row can have this id")
    return number


def whole_number(text: str) -> int:
    """A number from 1 on."""
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be blank")
    return text.strip()
