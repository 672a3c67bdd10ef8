"""``sbm check``: whether what is stored agrees with itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field

from sbm.commands.running import FAILED, OK, Work, in_database
from sbm.commands.schedules import remarks
from sbm.model.ledger_balance import TickBalance, batches
from sbm.settings.config import read_time_zone_of_ticks
from sbm.settings.reading import Settings
from sbm.store import ledger_balance, schedules
from sbm.store.postgres.database import Database

TICKS_PER_PAGE = 2000
TRIGGERS_PER_STATEMENT = 500_000
ROWS_PER_PAGE = 20_000
SENDS_PER_PAGE = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``check`` can look at to its parser."""
    parser.description = "Check all that can be checked, or only WHAT."
    parser.set_defaults(command=in_database(_check_all))
    subjects = parser.add_subparsers(metavar="WHAT")
    check_law = subjects.add_parser(
        "law",
        help="whether every trigger is accounted for, once",
        description="Check that for every tick its triggers are as many as its rows in the ledger"
        " and its live sends; that every live send has its tick; and that no send was sent twice,"
        " by the ledger or by an outbound that was noticed later (the table doubles). Print what is"
        " not so, and sums. Changes nothing, and can be run while daemons work. Exits with 0 if all"
        " is well, with 1 if not. Doubles count until their rows are deleted.",
    )
    check_law.set_defaults(command=in_database(_check_law))
    check_schedules = subjects.add_parser(
        "schedules",
        help="which schedules are never due, and which restrict both day fields",
        description="List each schedule that restricts both day_of_month and day_of_week, with its"
        " next three ticks in the time zone in which they come; each that is never due, because its"
        " date does not exist or its fields cannot be read; and each that the Seed Scheduler cannot"
        " be told. Changes nothing. Exits with 0 if all are due some day and can be told, with 1 if"
        " not.",
    )
    check_schedules.set_defaults(command=in_database(_check_schedules))


def _check_all(options: argparse.Namespace) -> Work:
    return partial(_check, checks=(_LawCheck(), _ScheduleCheck(time_zone=_time_zone(options))))


def _check_law(_options: argparse.Namespace) -> Work:
    return partial(_check, checks=(_LawCheck(),))


def _check_schedules(options: argparse.Namespace) -> Work:
    return partial(_check, checks=(_ScheduleCheck(time_zone=_time_zone(options)),))


async def _check(database: Database, *, checks: Sequence[_LawCheck | _ScheduleCheck]) -> int:
    for check in checks:
        await check.run(database)
    return FAILED if any(check.is_broken for check in checks) else OK


def _time_zone(options: argparse.Namespace) -> ZoneInfo:
    settings = Settings(environ=options.environ)
    time_zone = read_time_zone_of_ticks(settings)
    settings.check()
    return time_zone


@define(eq=False, kw_only=True)
class _LawCheck:
    """Looks at everything a page at a time, each in a transaction of its own, and prints."""

    ticks: int = field(default=0, init=False)
    not_kept: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)
    astray: int = field(default=0, init=False)
    twice: set[UUID] = field(factory=set, init=False)
    doubles: int = field(default=0, init=False)

    @property
    def is_broken(self) -> bool:
        return bool(self.broken or self.astray or self.twice or self.doubles)

    async def run(self, database: Database) -> None:
        await self._ticks(database)
        await self._astray(database)
        await self._sent_twice(database)
        await self._doubles(database)
        print(f"{self.broken} of {self.ticks} ticks are broken")
        if self.not_kept:
            print(f"{self.not_kept} more cannot be told: their part of the ledger was dropped")
        print(f"{self.astray} live sends have no tick")
        print(f"{len(self.twice)} sends were sent more than once")
        if self.doubles:
            print(
                f"{self.doubles} outbounds are doubles, beside those that the ledger names:"
                " they are in the table doubles"
            )
        print("the law is broken" if self.is_broken else "the law holds")

    async def _ticks(self, database: Database) -> None:
        after = ledger_balance.FIRST_TICK
        while page := await database.transact(
            ledger_balance.list_ticks, after=after, limit=TICKS_PER_PAGE
        ):
            after = page[-1].id
            for batch in batches(page, most=TRIGGERS_PER_STATEMENT):
                ids = [tick.id for tick in batch]
                for reckoning in await database.transact(ledger_balance.count, ids=ids):
                    self._judge(reckoning)

    def _judge(self, reckoning: TickBalance) -> None:
        if not reckoning.is_kept:
            self.not_kept += 1
            return
        self.ticks += 1
        if reckoning.is_broken:
            self.broken += 1
            missing = reckoning.missing
            print(f"{reckoning}: {abs(missing)} {'missing' if missing > 0 else 'too many'}")

    async def _astray(self, database: Database) -> None:
        after = ledger_balance.FIRST_ID
        while page := await database.transact(
            ledger_balance.list_astray, after=after, limit=SENDS_PER_PAGE
        ):
            after = page[-1].send_id
            for one in page:
                print(f"send {one.send_id}: there is no tick {one.tick_id}")
            self.astray += len(page)

    async def _sent_twice(self, database: Database) -> None:
        after = ledger_balance.FIRST_ID
        while True:
            last, page = await database.transact(
                ledger_balance.list_doubles, after=after, limit=ROWS_PER_PAGE
            )
            if last is None:
                return
            after = last
            for one in page:
                outbounds = ", ".join(one.outbound_ids)
                print(
                    f"send {one.send_id}: sent {one.times} times, to subscription"
                    f" {one.subscription_id}: outbounds {outbounds}"
                )
                self.twice.add(one.send_id)

    async def _doubles(self, database: Database) -> None:
        after = ledger_balance.FIRST_DOUBLE
        while page := await database.transact(
            ledger_balance.list_surplus, after=after, limit=ROWS_PER_PAGE
        ):
            after = page[-1].id
            for one in page:
                named = ", ".join(one.named) or "none that the ledger names"
                print(
                    f"send {one.send_id}: outbound {one.outbound_id} went out beside {named},"
                    f" to subscription {one.subscription_id}, noticed {one.noticed_at}"
                )
                if one.is_second:
                    self.twice.add(one.send_id)
            self.doubles += len(page)


@define(eq=False, kw_only=True)
class _ScheduleCheck:
    """Looks at all schedules, and prints what there is to say of them."""

    time_zone: ZoneInfo
    faulty: set[int] = field(factory=set, init=False)

    @property
    def is_broken(self) -> bool:
        return bool(self.faulty)

    async def run(self, database: Database) -> None:
        told = await database.transact(schedules.list_told)
        both_days = 0
        for schedule in told:
            for remark in remarks(schedule, self.time_zone):
                print(remark)
                if remark.is_fault:
                    self.faulty.add(remark.id)
                else:
                    both_days += 1
        print(f"{both_days} of {len(told)} schedules restrict both day fields")
        print(f"{len(self.faulty)} of {len(told)} schedules are never due, or cannot be told")
