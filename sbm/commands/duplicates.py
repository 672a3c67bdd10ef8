"""``sbm subscription remove-duplicates``: of those that somebody has twice, one stays."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import timedelta
from typing import Any, get_args

from attrs import define, field, frozen

from sbm.commands.running import OK, Work, actor, in_database
from sbm.commands.selecting import (
    CHUNK,
    add_selection,
    demand_selection,
    progress,
    selection_from,
    told,
)
from sbm.model.duplicate import Duplicate, DuplicateRule, Keep
from sbm.model.selection import Selection
from sbm.store import duplicates, locks, repairs
from sbm.store.postgres.database import Database, Transaction
from sbm.store.postgres.errors import RowLocked

_FIELDS = ("identity", "messageset", "lang", "schedule")
_LONGEST_SECONDS = 10 * 366 * 86400


def add_to(verbs: Any) -> None:
    """Add ``remove-duplicates`` to the commands about subscriptions."""
    twins = verbs.add_parser(
        "remove-duplicates",
        help="remove those that somebody has twice",
        description="Remove subscriptions that are under way and that the same person has again:"
        " made within a minute, of the same message set, language and schedule. The one that stays"
        " goes on from where the furthest of them stood. The audit keeps in full what was removed.",
    )
    twins.add_argument(
        "--fields",
        metavar="LIST",
        type=_fields,
        default=_FIELDS,
        help=f"what has to be the same (default: {','.join(_FIELDS)}); the first two always",
    )
    spacing = twins.add_mutually_exclusive_group()
    spacing.add_argument(
        "--within", metavar="SECONDS", type=_seconds, help="made so soon again (default: 60)"
    )
    spacing.add_argument("--any-time", action="store_true", help="no matter when they were made")
    twins.add_argument("--keep", choices=get_args(Keep), default="furthest", help="which one stays")
    twins.add_argument(
        "--deactivate", action="store_true", help="keep the others as well, but inactive"
    )
    add_selection(twins)
    twins.set_defaults(command=in_database(_remove_duplicates))


# How long smaller chunks wait for a lock that a whole one could not have.
PATIENCE = timedelta(milliseconds=100)


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
    demand_selection(options)
    within = DuplicateRule().within if options.within is None else options.within
    likeness = DuplicateRule(
        by_lang="lang" in options.fields,
        by_schedule="schedule" in options.fields,
        within=None if options.any_time else within,
        keep=options.keep,
    )
    return _Removal(options=options, likeness=likeness).run


@frozen(kw_only=True)
class _Removed:
    """What came of the subscriptions of some identities; no ``reach``: there were no more."""

    reach: str | None
    rows: int = 0
    duplicates: tuple[Duplicate, ...] = ()
    busy: int = 0


@define(eq=False, kw_only=True)
class _Removal:
    """Goes through all subscriptions, identity by identity."""

    options: argparse.Namespace
    likeness: DuplicateRule
    removed: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)
    locked: int = field(default=0, init=False)

    async def run(self, database: Database) -> int:
        selection = await database.transact(selection_from, self.options)
        total = await database.transact(repairs.count_all)
        after = duplicates.FIRST
        with progress(total, "subscriptions") as bar:
            while self.removed != self.options.limit:
                done = await self._next(database, after, selection)
                if done.reach is None:
                    break
                after = done.reach
                self.removed += len(done.duplicates)
                self.busy += done.busy
                if self.options.dry_run:
                    for one in done.duplicates:
                        line = (
                            f"{one.id} of {one.identity} would be {self._deed}; {one.kept_id} stays"
                        )
                        bar.write(line, file=sys.stdout)
                bar.update(done.rows)
        would = "would be " if self.options.dry_run else ""
        print(f"{self.removed} {would}{self._deed}")
        if self.busy:
            print(f"{self.busy} left for now: a message to them is under way")
        if self.locked:
            print(
                f"subscriptions of {self.locked} identities are locked by somebody else: left alone"
            )
        return OK

    async def _next(self, database: Database, after: str, selection: Selection) -> _Removed:
        """Fewer identities at once, down to one, where a subscription of theirs is locked."""
        limit = CHUNK
        while True:
            try:
                return await database.transact(self._go_on, after, selection, limit)
            except RowLocked:
                if limit == 1:
                    break
            limit //= 2
        self.locked += 1
        reach, rows = await database.transact(duplicates.reach, after=after, limit=1)
        return _Removed(reach=reach, rows=rows)

    @property
    def _deed(self) -> str:
        return "deactivated" if self.options.deactivate else "removed"

    async def _go_on(
        self, transaction: Transaction, after: str, selection: Selection, limit: int
    ) -> _Removed:
        if limit < CHUNK:  # the others should not have to wait as well
            await locks.wait_at_most(transaction, wait=PATIENCE)
        reach, rows = await duplicates.reach(transaction, after=after, limit=limit)
        if reach is None:
            return _Removed(reach=None)
        likeness = self.likeness
        ids = await duplicates.list_twins(
            transaction, after=after, reach=reach, selection=selection, likeness=likeness
        )
        if not ids:
            return _Removed(reach=reach, rows=rows)
        held = None if self.options.dry_run else await duplicates.hold(transaction, ids=ids)
        found = await duplicates.judge(
            transaction, ids=ids, selection=selection, likeness=likeness, held=held
        )
        meant = tuple(one for one in found if not one.is_busy)
        if self.options.limit is not None:
            meant = meant[: self.options.limit - self.removed]
        if held is not None and meant:
            await duplicates.remove(
                transaction,
                duplicates=meant,
                held=held,
                deactivate=self.options.deactivate,
                actor=actor(self.options),
                command="subscription remove-duplicates",
                reason=self.options.reason,
                details=told(selection),
            )
        busy = sum(one.is_busy for one in found)
        return _Removed(reach=reach, rows=rows, duplicates=meant, busy=busy)
