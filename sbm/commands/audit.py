"""``sbm audit``: who changed what by the API or by a command, and the undoing of changes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from sbm.commands.running import (
    FAILED,
    OK,
    CommandFailed,
    Work,
    add_signature,
    in_database,
    print_table,
    say,
)
from sbm.model.audit_entry import AUDITED_TABLES, ROW_OPERATIONS, AuditEntry
from sbm.model.ids import LARGEST_ID
from sbm.model.paging import PageRequest
from sbm.operations.refusals import NoSuchRow
from sbm.operations.undoing import BATCH, Undone, UndoRules, undo_entries, undo_entry
from sbm.settings.config import read_time_zones
from sbm.settings.reading import Settings
from sbm.settings.sending_rules import read_max_text_length
from sbm.store import audit
from sbm.store.audit import AuditFilter
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

_SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``audit`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = verbs.add_parser(
        "list",
        help="list changes, the newest first",
        description="List the newest changes that match: who, when, by which request or command,"
        " which row, and its values before and after.",
    )
    listing.add_argument("--actor", metavar="NAME", help="only by this user or operator")
    listing.add_argument("--table", choices=AUDITED_TABLES, help="only rows of this table")
    listing.add_argument("--row", metavar="ID", help="only of this row")
    listing.add_argument("--operation", choices=ROW_OPERATIONS, help="only this kind of change")
    listing.add_argument("--request", metavar="ID", help="only by this request or command")
    listing.add_argument("--identity", metavar="ID", help="only of this person's data")
    listing.add_argument("--after", metavar="TIME", type=_moment, help="only at this time or later")
    listing.add_argument(
        "--before", metavar="TIME", type=_moment, help="only at this time or before"
    )
    listing.add_argument(
        "--limit", metavar="N", type=_count, default=_SHOWN, help=f"how many (default: {_SHOWN})"
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object for each line")
    listing.set_defaults(command=in_database(_list))

    undo = verbs.add_parser(
        "undo",
        help="undo changes",
        description="Undo the changes with these IDs, or all of one request or command: each row"
        " gets the values that it had before. A row that has changed since stays as it is, and is"
        " listed. The undoing is in the audit, too. Exits with 1 if a change stayed.",
    )
    undo.add_argument("ids", metavar="ID", nargs="*", type=_id, help="from `audit list`")
    undo.add_argument("--request", metavar="ID", help="all changes of this request or command")
    add_signature(undo)
    undo.set_defaults(command=in_database(_undo), misused=undo.error)


def _id(text: str) -> int:
    number = int(text)
    if not 0 < number <= LARGEST_ID:
        raise ValueError("no row can have this id")
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number <= 10_000:
        raise argparse.ArgumentTypeError("must be from 1 to 10000")
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def _list(options: argparse.Namespace) -> Work:
    wanted = AuditFilter(
        actor=options.actor,
        table_name=options.table,
        row_id=options.row,
        operation=options.operation,
        request_id=options.request,
        identity=options.identity,
        done_after=options.after,
        done_before=options.before,
    )
    return partial(_list_those, wanted=wanted, limit=options.limit, is_json=options.json)


async def _list_those(database: Database, *, wanted: AuditFilter, limit: int, is_json: bool) -> int:
    part = await database.transact(audit.list_page, page=PageRequest(limit=limit), wanted=wanted)
    if is_json:
        for one in part.rows:
            say(json.dumps(_shown(one), ensure_ascii=False))
        return OK
    print_table(
        ("ID", "AT", "BY", "ACTION", "ROW", "CHANGE", "REASON"),
        [
            (
                str(one.id),
                one.done_at.isoformat(" ", "seconds"),
                one.actor,
                one.action,
                f"{one.table_name} {one.row_id}" if one.table_name else "",
                _change(one),
                one.reason,
            )
            for one in part.rows
        ],
    )
    if part.more:
        say(f"the newest {limit} of {part.count}")
    return OK


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "done_at": entry.done_at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "reason": entry.reason,
        "request_id": entry.request_id,
        "table": entry.table_name,
        "row": entry.row_id,
        "operation": entry.operation,
        "before": entry.before and entry.before.value,
        "after": entry.after and entry.after.value,
        "details": entry.details.value,
        "identity": entry.identity,
        "undoes": entry.undoes,
    }


def _change(entry: AuditEntry) -> str:
    if entry.operation is None:
        return _values(entry.details.value)
    if entry.operation == "update":
        before, after = entry.old_values, entry.new_values
        return ", ".join(
            f"{name}: {_value(before.get(name))} -> {_value(value)}"
            for name, value in after.items()
        )
    return f"{entry.operation} {_values(entry.new_values or entry.old_values)}"


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}: {_value(value)}" for name, value in values.items() if value is not None
    )


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _undo(options: argparse.Namespace) -> Work:
    if bool(options.ids) == bool(options.request):
        options.misused("give IDs or --request")
    settings = Settings(environ=options.environ)
    rules = UndoRules(
        max_text_length=read_max_text_length(settings),
        ticking_zone=read_time_zones(settings).scheduler,
    )
    settings.check()
    if options.request:
        return partial(_undo_request, request_id=options.request, rules=rules)
    return partial(_undo_those, ids=options.ids, rules=rules)


async def _undo_those(database: Database, *, ids: list[int], rules: UndoRules) -> int:
    status = OK
    for entry_id in sorted(set(ids), reverse=True):
        try:
            undone = await database.transact(undo_entry, entry_id=entry_id, rules=rules)
        except NoSuchRow:
            raise CommandFailed(f"the audit has no entry {entry_id}") from None
        status = max(status, _tell(undone))
    return status


async def _undo_request(database: Database, *, request_id: str, rules: UndoRules) -> int:
    """In transactions of some hundred changes: what is done stays done."""
    found = await database.transact(audit.list_requests, request_id=request_id)
    if not found:
        raise CommandFailed(f"no change of a row has the request id {request_id!r}")
    if len(found) > 1:
        raise CommandFailed(
            f"{len(found)} requests have the id {request_id!r}: give the ids of entries, from"
            f" `sbm audit list --request {request_id}`"
        )
    status, before_id = OK, None
    while True:
        undone, before_id = await database.transact(
            _undo_batch, entry_id=found[0], before_id=before_id, rules=rules
        )
        status = max(status, _tell(undone))
        if before_id is None:
            return status


async def _undo_batch(
    transaction: Transaction, *, entry_id: int, before_id: int | None, rules: UndoRules
) -> tuple[Undone, int | None]:
    """Undo the next changes; returns also the last of them, or None if there are no more."""
    entry = await audit.find(transaction, entry_id=entry_id)
    assert entry is not None
    entries = await audit.list_beside(transaction, entry=entry, before_id=before_id, limit=BATCH)
    undone = await undo_entries(transaction, entries=entries, rules=rules)
    return undone, entries[-1].id if len(entries) == BATCH else None


def _tell(undone: Undone) -> int:
    for one in undone.undone:
        say(f"undone: {one.id}, {one.table_name} {one.row_id}")
    for stayed in undone.stayed:
        one = stayed.entry
        why = "it is gone" if stayed.moved_on is None else f"now {_values(stayed.moved_on)}"
        say(f"stayed: {one.id}, {one.table_name} {one.row_id}: {why}")
    return FAILED if undone.stayed else OK
