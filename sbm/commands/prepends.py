"""``sbm subscription add-prepend``: something for many, to go out before their next message."""

from __future__ import annotations

import argparse
from typing import Any
from uuid import UUID

from attrs import define, field, frozen

from sbm.commands.running import OK, CommandFailed, Work, actor, in_database
from sbm.commands.selecting import (
    CHUNK,
    add_selection,
    demand_selection,
    progress,
    selection_from,
    told,
)
from sbm.model.prepend import misfit, prepend_from
from sbm.model.selection import Selection
from sbm.settings.config import read_max_text_length
from sbm.settings.reading import Settings
from sbm.store import audit, messagesets, repairs
from sbm.store.postgres.database import Database, Transaction


def add_to(verbs: Any) -> None:
    """Add ``add-prepend`` to the commands about subscriptions."""
    prepend = verbs.add_parser(
        "add-prepend",
        help="have something go out before the next message",
        description="Set metadata.prepend_next_delivery of those that are under way: the URL of a"
        " sound for sets of sounds, anything else for sets of texts. <LANG> in it stands for the"
        " language of the subscription.",
    )
    prepend.add_argument("prepend", metavar="TEXT_OR_URL", type=_prepend)
    prepend.add_argument(
        "--overwrite", action="store_true", help="even where another one is waiting"
    )
    add_selection(prepend)
    prepend.set_defaults(command=in_database(_add_prepend))


def _prepend(text: str) -> str:
    try:
        return prepend_from(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_prepend(options: argparse.Namespace) -> Work:
    demand_selection(options)
    settings = Settings(environ=options.environ)
    limit = read_max_text_length(settings)
    settings.check()
    return _Prepending(options=options, limit=limit).run


@frozen(kw_only=True)
class _Chosen:
    """Whom a prepend is for, and what was said about the sets that it is not for."""

    selection: Selection
    messageset_ids: list[int]
    misfits: list[str]


@frozen(kw_only=True)
class _Step:
    """What came of the next subscriptions; no ``place``: there were no more.

    ``left`` are those that somebody else has locked.
    """

    place: repairs.Place | None
    rows: int = 0
    found: list[repairs.PrependCandidate] = field(factory=list)
    given: list[UUID] = field(factory=list)
    left: int = 0


@define(eq=False, kw_only=True)
class _Prepending:
    """Goes through all subscriptions, from the newest on.

    ``limit``: how many characters a message may have together with what is prepended.
    """

    options: argparse.Namespace
    limit: int
    counts: dict[repairs.Verdict, int] = field(
        init=False, factory=lambda: {"free": 0, "same": 0, "other": 0, "odd": 0, "long": 0}
    )
    given: int = field(default=0, init=False)
    left: int = field(default=0, init=False)

    async def run(self, database: Database) -> int:
        chosen = await database.transact(self._choose)
        for one in chosen.misfits:
            print(f"left out: {one}")
        total = await database.transact(repairs.count_all)
        place: repairs.Place | None = repairs.Place()
        with progress(total, "subscriptions") as bar:
            while place is not None and self.given != self.options.limit:
                step = await database.transact(self._go_on, place, chosen)
                place = step.place
                self.given += len(step.given)
                self.left += step.left
                for prospect in step.found:
                    self.counts[prospect.verdict] += 1
                bar.update(step.rows)
        self._tell()
        return OK

    def _tell(self) -> None:
        print(f"{self.given} {'would be given' if self.options.dry_run else 'given'} the prepend")
        if self.counts["same"]:
            print(f"{self.counts['same']} have it already")
        if self.counts["odd"]:
            print(f"{self.counts['odd']} have metadata that are no object: left alone")
        if self.counts["long"]:
            print(
                f"{self.counts['long']} would have more than {self.limit} characters with their"
                " next message: left alone"
            )
        if self.counts["other"] and not self.options.overwrite:
            print(f"{self.counts['other']} have another one waiting: left alone")
        if self.left:
            print(f"{self.left} are locked by somebody else: left alone")

    async def _choose(self, transaction: Transaction) -> _Chosen:
        selection = await selection_from(transaction, self.options)
        found = [
            one
            for one in await messagesets.list_all(transaction)
            if selection.messageset_id in (None, one.id)
        ]
        objections = {one.id: misfit(self.options.prepend, one, limit=self.limit) for one in found}
        misfits = [
            f"message set {one.short_name!r} {objections[one.id]}"
            for one in found
            if objections[one.id] is not None
        ]
        if len(misfits) == len(found):
            raise CommandFailed("\n".join(misfits) or "there is no message set")
        fitting = [one.id for one in found if objections[one.id] is None]
        return _Chosen(selection=selection, messageset_ids=fitting, misfits=misfits)

    async def _go_on(
        self, transaction: Transaction, behind: repairs.Place, chosen: _Chosen
    ) -> _Step:
        reach, rows = await repairs.reach(transaction, behind=behind, limit=CHUNK)
        if reach is None:
            return _Step(place=None)
        ids = await repairs.list_under_way(
            transaction,
            behind=behind,
            reach=reach,
            messageset_ids=chosen.messageset_ids,
            selection=chosen.selection,
        )
        left = 0
        if ids and not self.options.dry_run:
            held = await repairs.hold(transaction, ids=ids)
            left, ids = len(ids) - len(held), held
        found = await repairs.judge_prepends(
            transaction,
            ids=ids,
            messageset_ids=chosen.messageset_ids,
            prepend=self.options.prepend,
            limit=self.limit,
        )
        willing = ("free", "other") if self.options.overwrite else ("free",)
        meant = [one for one in found if one.verdict in willing]
        if self.options.limit is not None:
            meant = meant[: self.options.limit - self.given]
        if meant and not self.options.dry_run:
            await self._give(transaction, chosen.selection, meant)
        return _Step(
            place=reach, rows=rows, found=found, given=[one.id for one in meant], left=left
        )

    async def _give(
        self, transaction: Transaction, selection: Selection, meant: list[repairs.PrependCandidate]
    ) -> None:
        ids = [one.id for one in meant]
        await repairs.set_prepends(transaction, ids=ids, prepend=self.options.prepend)
        await audit.record(
            transaction,
            actor=actor(self.options),
            command="subscription add-prepend",
            reason=self.options.reason,
            details=told(selection)
            | {
                "prepend": self.options.prepend,
                "count": len(ids),
                "subscriptions": list(map(str, ids)),
                "replaced": {str(one.id): one.waiting for one in meant if one.waiting},
            },
        )
