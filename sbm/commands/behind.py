"""``sbm behind``: who has had fewer messages than expected, and what can be done about it."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, evolve, field, frozen
from tqdm import tqdm

from sbm.commands.running import (
    OK,
    CommandFailed,
    actor,
    add_signature,
    stop_telling,
    with_database,
)
from sbm.commands.selecting import find_messageset, row_id, whole_number
from sbm.model.behind import BehindRecord, RepairCount
from sbm.operations.schedule_runs import Preparation
from sbm.settings.endpoints import DatabaseAddress
from sbm.settings.reading import Settings
from sbm.store import behind_subscriptions, clock, schedules
from sbm.store.postgres.database import Database, Transaction
from sbm.store.schedule_runs import FIRST, ScheduleRuns, Wanted

PAGE = 2000
CHUNK = 500
# Beyond that, cron fields and calendars say little.
FARTHEST = timedelta(days=3660)

Help = Callable[..., Awaitable[RepairCount]]


def add_to(commands: Any) -> None:
    """Add ``behind`` and what it can do to the commands of a parser."""
    parser = commands.add_parser("behind", help="subscriptions that had too few messages")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    diff = verbs.add_parser(
        "diff",
        help="show who is behind, and what fast-forward would do",
        description="Print a line of JSON for each subscription that is behind: where it stands,"
        " where it should be, and what fast-forward would make of it. Changes nothing.",
    )
    _add_choice(diff)
    diff.set_defaults(command=_diff)

    send = verbs.add_parser(
        "send",
        help="send one message to each who is behind",
        description="Owe the next message to each subscription that is behind. The daemons send"
        " it. Who is owed one already is skipped.",
    )
    _add_choice(send)
    _add_deed(send)
    send.set_defaults(command=_send)

    forward = verbs.add_parser(
        "fast-forward",
        help="move each who is behind to where she should be",
        description="Move each subscription that is behind to where it should be, through the sets"
        " that follow. Nothing is sent: the messages between are left out for good.",
    )
    _add_choice(forward)
    _add_deed(forward)
    forward.set_defaults(command=_fast_forward)


def _add_choice(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--message-set", metavar="NAME-OR-ID", help="those who are in this message set now"
    )
    verb.add_argument("--schedule", metavar="ID", type=row_id, help="those on this schedule now")
    verb.add_argument("--limit", metavar="N", type=whole_number, help="so many at most")
    verb.add_argument(
        "--end-date",
        metavar="MOMENT",
        type=_moment,
        help="where they should be then, such as 2026-11-30 (as the day begins) or"
        " 2026-11-30T08:00, in SBM_TIMEZONE (default: now)",
    )


def _add_deed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    add_signature(verb)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(
            "must be a date or a moment, such as 2026-11-30 or 2026-11-30T08:00"
        ) from None
    return moment


@frozen(kw_only=True)
class _Choice:
    """Whom the operator means, and as of when."""

    messageset: str | None
    schedule_id: int | None
    limit: int | None
    as_of: datetime | None
    time_zone: ZoneInfo

    @classmethod
    def read(cls, options: argparse.Namespace) -> _Choice:
        settings = Settings(environ=options.environ)
        time_zone = settings.timezone("SBM_TIMEZONE")
        settings.check()
        as_of: datetime | None = options.end_date
        if as_of is not None and as_of.tzinfo is None:
            as_of = as_of.replace(tzinfo=time_zone)
        return cls(
            messageset=options.message_set,
            schedule_id=options.schedule,
            limit=options.limit,
            as_of=as_of,
            time_zone=time_zone,
        )

    async def wanted(self, transaction: Transaction) -> Wanted:
        """The same by ids; raises CommandFailed for what there is not."""
        await self._check_moment(transaction)
        if self.schedule_id is not None and not await schedules.exists(
            transaction, row_id=self.schedule_id
        ):
            raise CommandFailed(f"there is no schedule {self.schedule_id}")
        messageset_id: int | None = None
        if self.messageset is not None:
            messageset_id = (await find_messageset(transaction, self.messageset)).id
        return Wanted(messageset_id=messageset_id, schedule_id=self.schedule_id)

    async def _check_moment(self, transaction: Transaction) -> None:
        now = await clock.now(transaction)
        if self.as_of is not None and abs(self.as_of - now) > FARTHEST:
            raise CommandFailed("--end-date must be within ten years of now")


@define(eq=False, kw_only=True)
class _Round:
    """Looks at all subscriptions once, a page at a time, and does something to those behind."""

    choice: _Choice
    # What keeps it from being done to one of them, if anything.
    obstacle: Callable[[BehindRecord], str | None]
    help: Help | None
    # The line about one of them that is done, if there is to be one.
    line: Callable[[BehindRecord], str] | None
    signature: dict[str, str] = field(factory=dict)
    helped: RepairCount = field(factory=RepairCount, init=False)
    skipped: Counter[str] = field(factory=Counter, init=False)

    async def run(self, database: Database) -> None:
        wanted = await database.transact(self.choice.wanted)
        preparation = Preparation(database=database, time_zone=self.choice.time_zone)
        search = await preparation.begin(as_of=self.choice.as_of, wanted=wanted)
        try:
            with tqdm(total=search.size, unit=" subscriptions", disable=None) as bar:
                await self._look_at_all(database, search, wanted, bar)
        finally:
            await preparation.end(search)

    async def _look_at_all(
        self, database: Database, search: ScheduleRuns, wanted: Wanted, bar: tqdm[Any]
    ) -> None:
        after: UUID = FIRST
        while not self._is_enough:
            look = await database.transact(
                behind_subscriptions.look,
                search_id=search.id,
                after=after,
                limit=PAGE,
                wanted=wanted,
            )
            if look is None:
                break
            await self._attend(database, search.id, look.found)
            after = look.last
            bar.update(look.looked_at)

    @property
    def _is_enough(self) -> bool:
        return self._left is not None and self._left <= 0

    @property
    def _left(self) -> int | None:
        return None if self.choice.limit is None else self.choice.limit - self.helped.done

    async def _attend(
        self, database: Database, search_id: int, found: Sequence[BehindRecord]
    ) -> None:
        meant = []
        for one in found:
            obstacle = self.obstacle(one)
            if obstacle is None:
                meant.append(one)
            else:
                self.skipped[obstacle] += 1
        while meant and not self._is_enough:
            size = CHUNK if self._left is None else min(CHUNK, self._left)
            chunk, meant = meant[:size], meant[size:]
            if self.help is None:
                helped = RepairCount(done=len(chunk), begun=sum(len(one.way) - 1 for one in chunk))
            else:
                helped = await database.transact(
                    self.help, search_id=search_id, ids=[one.id for one in chunk], **self.signature
                )
                unsaid = len(chunk) - helped.done
                if unsaid:
                    self.skipped["it was changed meanwhile, or somebody else had it locked"] += (
                        unsaid
                    )
            if self.line is not None:
                for one in chunk:
                    tqdm.write(self.line(one), file=sys.stdout)
            self.helped = evolve(
                self.helped,
                done=self.helped.done + helped.done,
                begun=self.helped.begun + helped.begun,
            )

    def tell_skipped(self) -> None:
        for reason, count in self.skipped.most_common():
            print(f"{count} skipped: {reason}")


def _diff(options: argparse.Namespace, address: DatabaseAddress) -> int:
    round_ = _Round(choice=_Choice.read(options), obstacle=lambda _one: None, help=None, line=_json)
    try:
        with_database(address, round_.run)
        sys.stdout.flush()
    except BrokenPipeError:
        stop_telling()
        return OK
    print(f"{round_.helped.done} behind", file=sys.stderr)
    return OK


def _send(options: argparse.Namespace, address: DatabaseAddress) -> int:
    round_ = _deed(options, behind_subscriptions.owe, lambda one: one.unsendable, _send_line)
    with_database(address, round_.run)
    done = round_.helped.done
    print(f"{done} would be owed a message" if options.dry_run else f"{done} owed a message")
    round_.tell_skipped()
    return OK


def _fast_forward(options: argparse.Namespace, address: DatabaseAddress) -> int:
    round_ = _deed(
        options, behind_subscriptions.fast_forward, lambda one: one.held_back, _move_line
    )
    with_database(address, round_.run)
    done, begun = round_.helped.done, round_.helped.begun
    if options.dry_run:
        print(f"{done} would be moved; subscriptions to next sets that would be made: {begun}")
    else:
        print(f"{done} moved; subscriptions to next sets that were made: {begun}")
    round_.tell_skipped()
    return OK


def _deed(
    options: argparse.Namespace,
    help_: Help,
    obstacle: Callable[[BehindRecord], str | None],
    line: Callable[[BehindRecord], str],
) -> _Round:
    return _Round(
        choice=_Choice.read(options),
        obstacle=obstacle,
        help=None if options.dry_run else help_,
        line=line if options.dry_run else None,
        signature={"actor": actor(options), "reason": options.reason},
    )


def _json(one: BehindRecord) -> str:
    *_, end = one.way
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
                    "messageset": leg.messageset_id,
                    "messageset_name": leg.messageset_name,
                    "next_sequence_number": leg.next_sequence_number,
                    "completed": leg.completed,
                    "created_at": leg.since.isoformat(),
                }
                for place, leg in enumerate(one.way)
            ],
            "held_back": one.held_back,
        },
        ensure_ascii=False,
    )


def _send_line(one: BehindRecord) -> str:
    where = f"{one.messageset_name} {one.next_sequence_number}"
    return f"{one.id}: {where}, {one.messages_behind} behind"


def _move_line(one: BehindRecord) -> str:
    *_, end = one.way
    there = f"{end.messageset_name} {end.next_sequence_number}"
    completed = ", completed" if end.completed else ""
    return (
        f"{one.id}: {one.messageset_name} {one.next_sequence_number} to {there}{completed},"
        f" {one.messages_behind} behind"
    )
