"""``sbm failed-task``: list the sends that were refused or failed, and owe them again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import get_args
from uuid import UUID

from sbm.commands.running import (
    FAILED,
    OK,
    Work,
    add_signature,
    in_database,
    print_table,
    say,
    signature_from,
)
from sbm.model.failed_task import EVERYTHING, MAX_REASON, FailedTaskFilter
from sbm.model.ids import LARGEST_ID
from sbm.model.paging import PageRequest
from sbm.model.send import SendKind, Stage
from sbm.model.signature import Signature
from sbm.operations.requeue import requeue_all, requeue_these
from sbm.store import failed_tasks
from sbm.store.postgres.database import Database

_SHOWN = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``failed-task`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = verbs.add_parser(
        "list",
        help="list the failed tasks",
        description=f"List the newest {_SHOWN} failed tasks that match, and print how many match.",
    )
    _add_filters(listing)
    listing.set_defaults(command=in_database(_list))

    requeue = verbs.add_parser(
        "requeue",
        help="owe failed tasks again",
        description="Owe the failed tasks with these IDs again, or those that match, or all of"
        " them. Each is the same send as before. A send that is no longer right is skipped, and"
        " the ledger says why.",
    )
    requeue.add_argument("ids", metavar="ID", nargs="*", type=_id, help="from `failed-task list`")
    _add_filters(requeue)
    requeue.add_argument("--dry-run", action="store_true", help="only print how many match")
    add_signature(requeue)
    requeue.set_defaults(command=in_database(_requeue), misused=requeue.error)


def _add_filters(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--kind", choices=get_args(SendKind), help="only next messages, or only resends"
    )
    verb.add_argument("--stage", choices=get_args(Stage), help="only sends that came this far")
    verb.add_argument("--subscription", metavar="UUID", type=UUID, help="only of this subscription")
    verb.add_argument(
        "--reason-contains", metavar="TEXT", type=_reason, help="only with this text in the reason"
    )


def _id(text: str) -> int:
    number = int(text)
    if not 0 < number <= LARGEST_ID:
        raise ValueError("no row can have this id")
    return number


def _reason(text: str) -> str:
    """A text that is not empty: an empty one would match all failed tasks."""
    if not 0 < len(text.strip()) <= MAX_REASON:
        raise argparse.ArgumentTypeError(f"must have from 1 to {MAX_REASON} characters")
    return text.strip()


def _wanted(options: argparse.Namespace) -> FailedTaskFilter:
    return FailedTaskFilter(
        kind=options.kind,
        stage=options.stage,
        subscription_id=options.subscription,
        reason_contains=options.reason_contains,
    )


def _list(options: argparse.Namespace) -> Work:
    return partial(_list_those, wanted=_wanted(options))


async def _list_those(database: Database, *, wanted: FailedTaskFilter) -> int:
    part = await database.transact(
        failed_tasks.list_page, page=PageRequest(limit=_SHOWN), wanted=wanted
    )
    print_table(
        ("ID", "KIND", "STAGE", "INITIATED", "SUBSCRIPTION", "REASON"),
        [
            (
                str(one.id),
                one.kind,
                one.stage,
                one.initiated_at.isoformat(" ", "seconds"),
                str(one.subscription_id),
                one.reason,
            )
            for one in part.rows
        ],
    )
    if part.more:
        say(f"the newest {_SHOWN} of {part.count}")
    return OK


def _requeue(options: argparse.Namespace) -> Work:
    wanted = _wanted(options)
    if options.ids and wanted != EVERYTHING:
        options.misused("give IDs or filters, not both")
    if options.ids:
        return partial(
            _requeue_these,
            ids=sorted(set(options.ids)),
            signature=signature_from(options),
            is_dry=options.dry_run,
        )
    return partial(
        _requeue_all, wanted=wanted, signature=signature_from(options), is_dry=options.dry_run
    )


async def _requeue_all(
    database: Database, *, wanted: FailedTaskFilter, signature: Signature, is_dry: bool
) -> int:
    if is_dry:
        part = await database.transact(
            failed_tasks.list_page, page=PageRequest(limit=1), wanted=wanted
        )
        say(f"{part.count} would be requeued")
        return OK
    done = await database.transact(requeue_all, wanted=wanted, signature=signature)
    _tell(taken=done.taken, owed=done.owed)
    if done.goes_on:
        say("a daemon goes on with the others")
    return OK


async def _requeue_these(
    database: Database, *, ids: Sequence[int], signature: Signature, is_dry: bool
) -> int:
    done = await database.transact(requeue_these, ids=ids, signature=signature, is_dry=is_dry)
    for number in done.missing:
        say(f"sbm: there is no failed task {number}", file=sys.stderr)
    if is_dry:
        say(f"{done.taken} would be requeued")
    else:
        _tell(taken=done.taken, owed=done.owed)
    return FAILED if done.missing else OK


def _tell(*, taken: int, owed: int) -> None:
    say(f"{taken} requeued: {owed} owed again, {taken - owed} skipped")
