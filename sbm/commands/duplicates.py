"""``sbm subscription remove-duplicates``: if a person has the same one twice, keep one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, get_args

from sbm.commands.running import OK, Work, in_database, print_above, progress, say
from sbm.commands.selecting import add_selection, repair_from
from sbm.model.duplicate import Duplicate, DuplicateRule, Keep
from sbm.operations.duplicates import Removal, remove_duplicates
from sbm.store.postgres.database import Database

_FIELDS = ("identity", "messageset", "lang", "schedule")
_LONGEST_SECONDS = 10 * 366 * 86400


def add_to(verbs: Any) -> None:
    """Add ``remove-duplicates`` to the commands about subscriptions."""
    parser = verbs.add_parser(
        "remove-duplicates",
        help="if a person has the same subscription twice, remove all but one",
        description="Remove active subscriptions that the same person has twice: made within a"
        " minute, with the same message set, language and schedule. The one that stays goes on from"
        " the place of the furthest of them. The audit keeps all fields of the removed ones.",
    )
    parser.add_argument(
        "--fields",
        metavar="LIST",
        type=_fields,
        default=_FIELDS,
        help=f"the fields that have to be the same (default: {','.join(_FIELDS)}); the first two"
        " are required",
    )
    spacing = parser.add_mutually_exclusive_group()
    spacing.add_argument(
        "--within", metavar="SECONDS", type=_seconds, help="made within this time (default: 60)"
    )
    spacing.add_argument("--any-time", action="store_true", help="no matter when they were made")
    parser.add_argument(
        "--keep", choices=get_args(Keep), default="furthest", help="which one stays"
    )
    parser.add_argument(
        "--deactivate", action="store_true", help="make the others inactive, and keep them"
    )
    add_selection(parser)
    parser.set_defaults(command=in_database(_remove_duplicates))


def _fields(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in _FIELDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(_FIELDS)}")
    missing = [name for name in _FIELDS[:2] if name not in names]
    if missing:
        raise argparse.ArgumentTypeError(f"{missing[0]} has to be among them")
    return names


def _seconds(text: str) -> timedelta:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) > _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_LONGEST_SECONDS}")
    return timedelta(seconds=int(text))


def _remove_duplicates(options: argparse.Namespace) -> Work:
    within = DuplicateRule().within if options.within is None else options.within
    rule = DuplicateRule(
        by_lang="lang" in options.fields,
        by_schedule="schedule" in options.fields,
        within=None if options.any_time else within,
        keep=options.keep,
    )
    removal = Removal(repair=repair_from(options), rule=rule, deactivate=options.deactivate)
    return partial(_remove, removal=removal)


async def _remove(database: Database, *, removal: Removal) -> int:
    is_dry = removal.repair.is_dry
    deed = "deactivated" if removal.deactivate else "removed"

    def tell(duplicates: Sequence[Duplicate]) -> None:
        for one in duplicates if is_dry else ():
            print_above(f"{one.id} of {one.identity} would be {deed}; {one.kept_id} stays")

    done = await remove_duplicates(database, removal=removal, tell=tell, progress=progress)
    say(f"{done.removed} {'would be ' if is_dry else ''}{deed}")
    if done.busy:
        say(f"{done.busy} not changed for now: a message to them is in progress")
    if done.locked:
        say(f"subscriptions of {done.locked} identities are locked: not changed")
    return OK
