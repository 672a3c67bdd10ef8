"""What commands share that change many subscriptions: whom they mean, how far they have come."""

from __future__ import annotations

import argparse
import re
from typing import Any

from attrs import asdict
from tqdm import tqdm

from sbm.commands.running import CommandFailed, add_signature
from sbm.model.content import MessageSet
from sbm.model.selection import EVERYBODY, Selection
from sbm.store import messagesets, schedules
from sbm.store.postgres.database import Transaction

# So many subscriptions are looked at, and perhaps changed, in one transaction. Changing one touches
# every index of the table; settling must not have to wait for long.
CHUNK = 500

_LARGEST_ID = 2**31 - 1


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


def demand_selection(options: argparse.Namespace, *filters: object) -> None:
    """Refuse to change everybody unless that was said; ``filters`` are the command's own."""
    given = (options.message_set, options.lang, options.schedule, *filters)
    if not (options.dry_run or options.all or any(one is not None for one in given)):
        options.misused("say which are meant by a filter, or else --all")


async def selection_from(transaction: Transaction, options: argparse.Namespace) -> Selection:
    """Whom the options mean; raises CommandFailed where a set or schedule is none."""
    messageset_id = None
    if options.message_set is not None:
        messageset_id = (await find_messageset(transaction, options.message_set)).id
    if options.schedule is not None and not await schedules.exists(
        transaction, row_id=options.schedule
    ):
        raise CommandFailed(f"there is no schedule {options.schedule}")
    return Selection(messageset_id=messageset_id, lang=options.lang, schedule_id=options.schedule)


async def find_messageset(transaction: Transaction, given: str) -> MessageSet:
    """The message set of this short name, or else of this id; raises CommandFailed."""
    messageset_id = await messagesets.find_by_name(transaction, short_name=given)
    if messageset_id is None and given.isdecimal() and int(given) <= _LARGEST_ID:
        messageset_id = int(given)
    found = None
    if messageset_id is not None:
        found = await messagesets.find(transaction, messageset_id=messageset_id)
    if found is None:
        raise CommandFailed(f"there is no message set {given!r}")
    return found


def told(selection: Selection) -> dict[str, Any]:
    """The filters that were given, for the audit."""
    if selection == EVERYBODY:
        return {"all": True}
    return {name: value for name, value in asdict(selection).items() if value is not None}


def progress(total: int, unit: str) -> tqdm[Any]:
    """How far it has come, on standard error, if that is a terminal."""
    return tqdm(total=total, unit=f" {unit}", disable=None, leave=False)


def row_id(text: str) -> int:
    """An id as operators write it."""
    number = whole_number(text)
    if number > _LARGEST_ID:
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
