"""``sbm subscription reset-stuck``: those in error are ready again."""

from __future__ import annotations

import argparse
from typing import Any
from uuid import UUID

from attrs import define, field

from sbm.commands.running import OK, Work, actor, in_database, print_table
from sbm.commands.selecting import (
    CHUNK,
    add_selection,
    demand_selection,
    progress,
    selection_from,
    told,
)
from sbm.model.selection import Selection
from sbm.store import audit, repairs
from sbm.store.postgres.database import Database, Transaction

_STATUSES = (-1, -2)


def add_to(verbs: Any) -> None:
    """Add ``reset-stuck`` to the commands about subscriptions."""
    stuck = verbs.add_parser(
        "reset-stuck",
        help="send again to those that are in error",
        description="Set process_status to 0 where it is -1 or -2, so that ticks reach them again;"
        " completed ones are left alone.",
    )
    stuck.add_argument(
        "--status", metavar="STATUS", type=int, choices=_STATUSES, help="only -1, or only -2"
    )
    add_selection(stuck)
    stuck.set_defaults(command=in_database(_reset_stuck))


def _reset_stuck(options: argparse.Namespace) -> Work:
    demand_selection(options, options.status)
    return _Reset(options=options).run


@define(eq=False, kw_only=True)
class _Reset:
    """Goes through those that are in error, status by status."""

    options: argparse.Namespace
    reset: int = field(default=0, init=False)
    left: int = field(default=0, init=False)

    async def run(self, database: Database) -> int:
        statuses = _STATUSES if self.options.status is None else (self.options.status,)
        selection = await database.transact(selection_from, self.options)
        stuck = await database.transact(repairs.count_stuck, statuses=statuses, selection=selection)
        meant = sum(one.count for one in stuck)
        if self.options.limit is not None:
            meant = min(meant, self.options.limit)
        if self.options.dry_run:
            if stuck:
                print_table(
                    ("MESSAGE SET", "STATUS", "STUCK"),
                    [(one.short_name, str(one.process_status), str(one.count)) for one in stuck],
                )
            print(f"{meant} would be reset")
            return OK
        with progress(meant, "subscriptions") as bar:
            for status in statuses:
                place: repairs.Place | None = repairs.Place()
                while place is not None and self.reset != self.options.limit:
                    ids, left, place = await database.transact(
                        self._go_on, status, selection, place
                    )
                    self.reset += len(ids)
                    self.left += left
                    bar.update(len(ids))
        print(f"{self.reset} reset")
        if self.left:
            print(
                f"{self.left} left: they were changed meanwhile, or somebody else has locked them"
            )
        return OK

    async def _go_on(
        self, transaction: Transaction, status: int, selection: Selection, behind: repairs.Place
    ) -> tuple[list[UUID], int, repairs.Place | None]:
        limit = CHUNK
        if self.options.limit is not None:
            limit = min(limit, self.options.limit - self.reset)
        ids, left, place = await repairs.reset_stuck(
            transaction, status=status, selection=selection, behind=behind, limit=limit
        )
        if ids:
            await audit.record(
                transaction,
                actor=actor(self.options),
                command="subscription reset-stuck",
                reason=self.options.reason,
                details=told(selection)
                | {"status": status, "count": len(ids), "subscriptions": list(map(str, ids))},
            )
        return ids, left, place
