"""Checks that the stored data is consistent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from attrs import define, field, frozen

from sbm.model.ids import BEFORE_ALL
from sbm.model.ledger_balance import TickBalance, batches
from sbm.model.time_zones import TimeZones
from sbm.operations.schedule_remarks import Remark, remarks
from sbm.store import ledger_balance, schedules, users
from sbm.store.ledger_balance import Double, OrphanSend, Surplus
from sbm.store.postgres.database import Database

TICKS_PER_PAGE = 2000
TRIGGERS_PER_STATEMENT = 500_000
ROWS_PER_PAGE = 20_000
SENDS_PER_PAGE = 1000

# What is wrong with the ledger: a tick that is not balanced, a live send without a tick, a send
# that was sent twice by the ledger, and an outbound that was noticed beside those of the ledger.
LedgerFinding = TickBalance | OrphanSend | Double | Surplus


@frozen(kw_only=True)
class LedgerCheck:
    """How many of each finding there are.

    ``not_kept`` ticks have lost a part of the ledger, because it was dropped; they cannot be
    checked, and are not among the ``ticks``. ``sent_twice`` counts sends, each once.
    """

    ticks: int
    not_kept: int
    unbalanced: int
    orphans: int
    sent_twice: int
    doubles: int

    @property
    def is_unbalanced(self) -> bool:
        """Whether there is any finding."""
        return bool(self.unbalanced or self.orphans or self.sent_twice or self.doubles)


@frozen(kw_only=True)
class ScheduleCheck:
    """The remarks about schedules, and how many schedules there are."""

    schedules: int
    remarks: list[Remark]

    @property
    def faulty(self) -> set[int]:
        """The ids of schedules that cannot work as they were meant to."""
        return {remark.id for remark in self.remarks if remark.is_fault}


async def check_ledger(
    database: Database, *, tell: Callable[[LedgerFinding], object]
) -> LedgerCheck:
    """Look at the whole ledger; ``tell`` is called with each finding.

    Each page is a transaction of its own, so that daemons can work meanwhile.
    """
    return await _LedgerChecker(database=database, tell=tell).run()


async def check_schedules(database: Database, *, zones: TimeZones) -> ScheduleCheck:
    """Look at all schedules; ``zones`` say in which time zone their fields are read."""
    told = await database.transact(schedules.list_told)
    found = [remark for schedule in told for remark in remarks(schedule, zones)]
    return ScheduleCheck(schedules=len(told), remarks=found)


async def check_tokens(database: Database, *, scheduler_tokens: Sequence[str]) -> list[str]:
    """The names of the users who have a token of the Scheduler as theirs, too."""
    if not scheduler_tokens:
        return []
    return await database.transact(users.list_owners, tokens=scheduler_tokens)


@define(eq=False, kw_only=True)
class _LedgerChecker:
    """Looks at everything a page at a time, and counts."""

    database: Database
    tell: Callable[[LedgerFinding], object]
    ticks: int = field(default=0, init=False)
    not_kept: int = field(default=0, init=False)
    unbalanced: int = field(default=0, init=False)
    orphans: int = field(default=0, init=False)
    twice: set[UUID] = field(factory=set, init=False)
    doubles: int = field(default=0, init=False)

    async def run(self) -> LedgerCheck:
        await self._check_ticks()
        await self._check_live_sends()
        await self._check_sent()
        await self._check_doubles()
        return LedgerCheck(
            ticks=self.ticks,
            not_kept=self.not_kept,
            unbalanced=self.unbalanced,
            orphans=self.orphans,
            sent_twice=len(self.twice),
            doubles=self.doubles,
        )

    async def _check_ticks(self) -> None:
        after = ledger_balance.FIRST_TICK
        while page := await self.database.transact(
            ledger_balance.list_ticks, after=after, limit=TICKS_PER_PAGE
        ):
            after = page[-1].id
            for batch in batches(page, most=TRIGGERS_PER_STATEMENT):
                ids = [tick.id for tick in batch]
                for balance in await self.database.transact(ledger_balance.count, ids=ids):
                    self._check_tick(balance)

    def _check_tick(self, balance: TickBalance) -> None:
        if not balance.is_kept:
            self.not_kept += 1
            return
        self.ticks += 1
        if balance.is_unbalanced:
            self.unbalanced += 1
            self.tell(balance)

    async def _check_live_sends(self) -> None:
        after = BEFORE_ALL
        while page := await self.database.transact(
            ledger_balance.list_orphans, after=after, limit=SENDS_PER_PAGE
        ):
            after = page[-1].send_id
            for one in page:
                self.tell(one)
            self.orphans += len(page)

    async def _check_sent(self) -> None:
        after = BEFORE_ALL
        while True:
            last, page = await self.database.transact(
                ledger_balance.list_doubles, after=after, limit=ROWS_PER_PAGE
            )
            if last is None:
                return
            after = last
            for one in page:
                self.tell(one)
                self.twice.add(one.send_id)

    async def _check_doubles(self) -> None:
        after = ledger_balance.FIRST_DOUBLE
        while page := await self.database.transact(
            ledger_balance.list_surplus, after=after, limit=ROWS_PER_PAGE
        ):
            after = page[-1].id
            for one in page:
                self.tell(one)
                if one.is_second:
                    self.twice.add(one.send_id)
            self.doubles += len(page)
