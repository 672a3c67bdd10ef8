"""``sbm check``: whether what is stored agrees with itself."""

from __future__ import annotations

import argparse
from typing import Any

from attrs import define, field

from sbm.addresses import DatabaseAddress
from sbm.commands.running import FAILED, OK, with_database
from sbm.model.law import Reckoning, batches
from sbm.store import law
from sbm.store.database import Database

TICKS_PER_PAGE = 2000
TRIGGERS_PER_STATEMENT = 500_000
ROWS_PER_PAGE = 20_000
SENDS_PER_PAGE = 1000


def add_to(commands: Any) -> None:
    """Add ``check`` and what it can look at to the commands of a parser."""
    parser = commands.add_parser("check", help="whether what is stored agrees with itself")
    subjects = parser.add_subparsers(required=True, metavar="WHAT")
    check_law = subjects.add_parser(
        "law",
        help="whether every trigger is accounted for, once",
        description="Check that for every tick its triggers are as many as its rows in the ledger"
        " and its live sends; that every live send has its tick; and that no send was sent twice."
        " Print what is not so, and sums. Changes nothing, and can be run while daemons work. Exits"
        " with 0 if all is well, with 1 if not.",
    )
    check_law.set_defaults(command=_check_law)


def _check_law(_options: argparse.Namespace, address: DatabaseAddress) -> int:
    check = _LawCheck()
    with_database(address, check.run)
    return FAILED if check.is_broken else OK


@define(eq=False, kw_only=True)
class _LawCheck:
    """Looks at everything a page at a time, each in a transaction of its own, and prints."""

    ticks: int = field(default=0, init=False)
    not_kept: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)
    astray: int = field(default=0, init=False)
    doubles: int = field(default=0, init=False)

    @property
    def is_broken(self) -> bool:
        return bool(self.broken or self.astray or self.doubles)

    async def run(self, database: Database) -> None:
        await self._ticks(database)
        await self._astray(database)
        await self._doubles(database)
        print(f"{self.broken} of {self.ticks} ticks are broken")
        if self.not_kept:
            print(f"{self.not_kept} more cannot be told: their part of the ledger was dropped")
        print(f"{self.astray} live sends have no tick")
        print(f"{self.doubles} sends were sent more than once")
        print("the law is broken" if self.is_broken else "the law holds")

    async def _ticks(self, database: Database) -> None:
        after = law.FIRST_TICK
        while page := await database.transact(law.list_ticks, after=after, limit=TICKS_PER_PAGE):
            after = page[-1].id
            for batch in batches(page, most=TRIGGERS_PER_STATEMENT):
                ids = [tick.id for tick in batch]
                for reckoning in await database.transact(law.count, ids=ids):
                    self._judge(reckoning)

    def _judge(self, reckoning: Reckoning) -> None:
        if not reckoning.is_kept:
            self.not_kept += 1
            return
        self.ticks += 1
        if reckoning.is_broken:
            self.broken += 1
            missing = reckoning.missing
            print(f"{reckoning}: {abs(missing)} {'missing' if missing > 0 else 'too many'}")

    async def _astray(self, database: Database) -> None:
        after = law.FIRST_ID
        while page := await database.transact(law.list_astray, after=after, limit=SENDS_PER_PAGE):
            after = page[-1].send_id
            for one in page:
                print(f"send {one.send_id}: there is no tick {one.tick_id}")
            self.astray += len(page)

    async def _doubles(self, database: Database) -> None:
        after = law.FIRST_ID
        while True:
            last, page = await database.transact(law.list_doubles, after=after, limit=ROWS_PER_PAGE)
            if last is None:
                return
            after = last
            for one in page:
                outbounds = ", ".join(one.outbound_ids)
                print(
                    f"send {one.send_id}: sent {one.times} times, to subscription"
                    f" {one.subscription_id}: outbounds {outbounds}"
                )
            self.doubles += len(page)
