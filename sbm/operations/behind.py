"""Subscriptions that have had fewer messages than expected: listed, sent to, or moved on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import asdict, define, evolve, field, frozen

from sbm.model.behind import BehindRecord, RepairCount
from sbm.model.ids import BEFORE_ALL
from sbm.model.signature import Signature
from sbm.model.time_zones import TimeZones
from sbm.operations import schedule_runs
from sbm.operations.progress import Advance, Progress, no_progress
from sbm.operations.refusals import OperationRefused
from sbm.operations.selection import CHUNK, Filters, Repair, check_schedule, find_messageset
from sbm.store import audit, behind_subscriptions, clock
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.store.schedule_runs import RunFilter
from sbm.store.schedule_runs import check as check_runs

PAGE = 2000
# Beyond that, cron fields and calendars say little.
FARTHEST = timedelta(days=3660)

_CHANGED = "it was changed meanwhile, or it was locked"


class MomentTooFar(OperationRefused):
    """The moment is too far from now to say where subscriptions should be."""

    def __init__(self) -> None:
        super().__init__("must be within ten years of now")


@frozen(kw_only=True)
class Expectation:
    """The moment of the comparison (None: now), and the time zones of the schedules."""

    zones: TimeZones
    as_of: datetime | None = None


@frozen(kw_only=True)
class BehindCount:
    """How many were repaired, how many were chained to them, and how many skipped, and why."""

    done: int
    begun: int
    skipped: Counter[str]


# The repair of those among some subscriptions that are still behind.
_Deed = Callable[..., Awaitable[RepairCount]]
_TellRecord = Callable[[BehindRecord], object]


def _untold(_one: BehindRecord) -> None:
    """Ignore single subscriptions."""


async def list_behind(
    database: Database,
    *,
    expectation: Expectation,
    filters: Filters,
    limit: int | None,
    tell: _TellRecord,
    progress: Progress = no_progress,
) -> BehindCount:
    """Call ``tell`` with each subscription that is behind, and change nothing.

    Raises Refused for filters that name unknown rows, and MomentTooFar, as do the functions below.
    """
    return await _Pass(
        database=database,
        expectation=expectation,
        filters=filters,
        limit=limit,
        obstacle=lambda _one: None,
        tell=tell,
        progress=progress,
    ).run()


async def send_to_behind(
    database: Database,
    *,
    expectation: Expectation,
    repair: Repair,
    tell: _TellRecord = _untold,
    progress: Progress = no_progress,
) -> BehindCount:
    """Owe the next message to each subscription that can get one; calls ``tell`` with each."""
    return await _Pass(
        database=database,
        expectation=expectation,
        filters=repair.filters,
        limit=repair.limit,
        obstacle=lambda one: one.unsendable,
        deed=None if repair.is_dry else owe_to_these,
        signature=repair.signature,
        tell=tell,
        progress=progress,
    ).run()


async def fast_forward(
    database: Database,
    *,
    expectation: Expectation,
    repair: Repair,
    tell: _TellRecord = _untold,
    progress: Progress = no_progress,
) -> BehindCount:
    """Move each subscription that can be moved to where it should be; calls ``tell`` with each."""
    return await _Pass(
        database=database,
        expectation=expectation,
        filters=repair.filters,
        limit=repair.limit,
        obstacle=lambda one: one.held_back,
        deed=None if repair.is_dry else fast_forward_these,
        signature=repair.signature,
        tell=tell,
        progress=progress,
    ).run()


async def judge_these(
    transaction: Transaction, *, runs_id: int, ids: Sequence[UUID]
) -> list[BehindRecord]:
    """Those of these that are behind now, and what a repair would do to each."""
    wanted = RunFilter(ids=ids)
    page = await behind_subscriptions.look(
        transaction, search_id=runs_id, after=BEFORE_ALL, limit=len(ids), wanted=wanted
    )
    return [] if page is None else page.found


async def fast_forward_these(
    transaction: Transaction, *, runs_id: int, ids: Sequence[UUID], signature: Signature
) -> RepairCount:
    """Move these to where they should be, if they are still behind, and send nothing."""
    return await _repair(
        transaction,
        behind_subscriptions.fast_forward,
        action="behind fast-forward",
        runs_id=runs_id,
        ids=ids,
        signature=signature,
    )


async def owe_to_these(
    transaction: Transaction, *, runs_id: int, ids: Sequence[UUID], signature: Signature
) -> RepairCount:
    """Owe the next message to each of these, if they are still behind."""
    return await _repair(
        transaction,
        behind_subscriptions.owe,
        action="behind send",
        runs_id=runs_id,
        ids=ids,
        signature=signature,
    )


async def _repair(
    transaction: Transaction,
    deed: _Deed,
    *,
    action: str,
    runs_id: int,
    ids: Sequence[UUID],
    signature: Signature,
) -> RepairCount:
    """Repair those that are still behind and can be locked; records their number in the audit."""
    await check_runs(transaction, search_id=runs_id)
    held = await behind_subscriptions.lock(transaction, ids=ids)
    count = await deed(
        transaction,
        search_id=runs_id,
        ids=held,
        actor=signature.actor,
        reason=signature.reason,
    )
    if count.done:
        await audit.record(
            transaction,
            actor=signature.actor,
            action=action,
            reason=signature.reason,
            details=asdict(count),
        )
    return count


@define(eq=False, kw_only=True)
class _Pass:
    """Looks at all subscriptions once, a page at a time, and repairs those that are behind.

    ``deed`` is the repair; without one, they are only counted. ``obstacle`` says why one of them
    cannot be repaired, or None. ``tell`` is called with each one that is repaired.
    """

    database: Database
    expectation: Expectation
    filters: Filters
    limit: int | None
    obstacle: Callable[[BehindRecord], str | None]
    tell: _TellRecord
    progress: Progress
    deed: _Deed | None = None
    signature: Signature | None = None
    count: RepairCount = field(factory=RepairCount, init=False)
    skipped: Counter[str] = field(factory=Counter, init=False)

    async def run(self) -> BehindCount:
        wanted = await self.database.transact(
            _choose, expectation=self.expectation, filters=self.filters
        )
        runs = await schedule_runs.prepare(
            self.database,
            zones=self.expectation.zones,
            as_of=self.expectation.as_of,
            wanted=wanted,
        )
        try:
            with self.progress("subscriptions", runs.size) as advance:
                await self._look_at_all(runs.id, wanted, advance)
        finally:
            await schedule_runs.forget(self.database, runs_id=runs.id)
        return BehindCount(done=self.count.done, begun=self.count.begun, skipped=self.skipped)

    async def _look_at_all(self, runs_id: int, wanted: RunFilter, advance: Advance) -> None:
        after: UUID = BEFORE_ALL
        while not self._is_enough:
            page = await self.database.transact(
                behind_subscriptions.look,
                search_id=runs_id,
                after=after,
                limit=PAGE,
                wanted=wanted,
            )
            if page is None:
                break
            await self._attend(runs_id, page.found)
            after = page.last
            advance(page.looked_at)

    @property
    def _is_enough(self) -> bool:
        return self._left is not None and self._left <= 0

    @property
    def _left(self) -> int | None:
        return None if self.limit is None else self.limit - self.count.done

    async def _attend(self, runs_id: int, found: Sequence[BehindRecord]) -> None:
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
            count = await self._do(runs_id, chunk)
            if len(chunk) > count.done:
                self.skipped[_CHANGED] += len(chunk) - count.done
            for one in chunk:
                self.tell(one)
            self.count = evolve(
                self.count,
                done=self.count.done + count.done,
                begun=self.count.begun + count.begun,
            )

    async def _do(self, runs_id: int, chunk: Sequence[BehindRecord]) -> RepairCount:
        if self.deed is None:
            return RepairCount(done=len(chunk), begun=sum(len(one.path) - 1 for one in chunk))
        return await self.database.transact(
            self.deed,
            runs_id=runs_id,
            ids=[one.id for one in chunk],
            signature=self.signature,
        )


async def _choose(
    transaction: Transaction, *, expectation: Expectation, filters: Filters
) -> RunFilter:
    now = await clock.now(transaction)
    if expectation.as_of is not None and abs(expectation.as_of - now) > FARTHEST:
        raise MomentTooFar
    if filters.schedule_id is not None:
        await check_schedule(transaction, schedule_id=filters.schedule_id)
    messageset_id: int | None = None
    if filters.messageset is not None:
        messageset_id = (await find_messageset(transaction, given=filters.messageset)).id
    return RunFilter(messageset_id=messageset_id, schedule_id=filters.schedule_id)
