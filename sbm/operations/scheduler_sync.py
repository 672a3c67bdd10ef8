"""Compare what the Scheduler has stored with what it should have, and correct the differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from attrs import define, field

from sbm.clients.links import PageLimits
from sbm.clients.scheduler import Entry, Scheduler
from sbm.model.ids import BEFORE_ALL
from sbm.model.scheduler_call import Difference, Scheduling, endpoint, target_of
from sbm.model.signature import Signature
from sbm.operations.refusals import OperationRefused
from sbm.store import audit, clock, scheduler_calls, scheduler_schedules
from sbm.store.postgres.database import Database
from sbm.store.scheduler_schedules import ListedSchedule

CHUNK = 1000

# Nothing of a page is kept in memory after it.
EVERYTHING = PageLimits(pages=100_000, rows=20_000_000, time=timedelta(hours=12))


class WrongMode(OperationRefused):
    """SBM_SCHEDULING of the daemons has another value than here."""

    def __init__(self, here: str, announced: str) -> None:
        super().__init__(
            f"SBM_SCHEDULING is {here} here, but the daemon that was started last said"
            f" {announced}: restart the daemons with the new setting first"
        )


@define(eq=False, slots=False, kw_only=True)
class Comparison:
    """Lists what the Scheduler has stored, and yields the differences, a chunk at a time.

    Only one page is in memory at a time. The calls are owed here; the daemons make them.
    ``listed`` is called with the number of entries of each page.
    """

    database: Database
    scheduler: Scheduler
    mode: Scheduling
    public_url: str
    auth_token: str | None = field(repr=False)
    listed: Callable[[int], object] = lambda _: None

    async def bring_in_line(self, *, is_dry: bool = False) -> AsyncGenerator[Difference, None]:
        """Owe the calls that correct the differences, unless ``is_dry``; yields the differences.

        Raises Unavailable if the Scheduler does not list all that it has stored.
        """
        listing_id = uuid4()
        since = await self.database.transact(clock.now)
        try:
            async for page in self.scheduler.pages(limits=EVERYTHING):
                entries = [self._read(entry) for entry in page]
                await self.database.transact(
                    scheduler_schedules.note, listing_id=listing_id, entries=entries
                )
                if not is_dry:
                    await self.database.transact(scheduler_schedules.note_crons, entries=entries)
                self.listed(len(page))
            if not is_dry:
                await self.database.transact(scheduler_schedules.forget_unlisted_crons, since=since)
            async for chunk in self._chunks(listing_id, since):
                if chunk and not is_dry:
                    await self.database.transact(
                        scheduler_schedules.apply, differences=chunk, since=since
                    )
                for difference in chunk:
                    if difference.action is not None:
                        yield difference
        finally:
            await self.database.transact(scheduler_schedules.forget, listing_id=listing_id)

    async def _chunks(self, listing_id: UUID, since: datetime) -> AsyncIterator[list[Difference]]:
        # First the entries that are not needed: what replaces them is stored after them.
        last: str | None = ""
        while last is not None:
            last, surplus = await self.database.transact(
                scheduler_schedules.list_surplus, listing_id=listing_id, after=last, limit=CHUNK
            )
            yield surplus
        yield await self.database.transact(
            scheduler_schedules.compare_schedules,
            listing_id=listing_id,
            mode=self.mode,
            since=since,
        )
        after: UUID | None = BEFORE_ALL
        while after is not None:
            after, found = await self.database.transact(
                scheduler_schedules.compare_subscriptions,
                listing_id=listing_id,
                mode=self.mode,
                since=since,
                after=after,
                limit=CHUNK,
            )
            yield found

    def _read(self, entry: Entry) -> ListedSchedule:
        found = target_of(entry.endpoint, self.public_url)
        kind, target = found or (None, None)
        is_addressed = (
            kind is not None
            and target is not None
            and entry.endpoint == endpoint(self.public_url, kind, target)
            and entry.auth_token in (None, self.auth_token)
        )
        return ListedSchedule(
            remote_id=entry.id,
            kind=kind,
            target=target,
            cron_definition=entry.cron_definition,
            made_with=entry.made_with,
            enabled=entry.enabled,
            is_addressed=is_addressed,
            created_at=entry.created_at.isoformat(),
        )


async def sync(
    comparison: Comparison,
    *,
    signature: Signature,
    is_dry: bool = False,
    tell: Callable[[Difference], object],
) -> Counter[str]:
    """Owe the calls that correct the differences, and record them in the audit; counts the actions.

    ``tell`` is called with each difference. If ``is_dry``, nothing is owed. Raises WrongMode, or
    Unavailable if the Scheduler does not list all that it has stored.
    """
    database, mode = comparison.database, comparison.mode
    announced = await database.transact(scheduler_calls.read_scheduling)
    if announced != mode:
        raise WrongMode(mode, announced)
    counts: Counter[str] = Counter()
    async with aclosing(comparison.bring_in_line(is_dry=is_dry)) as differences:
        async for difference in differences:
            counts[str(difference.action)] += 1
            tell(difference)
    if not is_dry:
        await database.transact(
            audit.record,
            actor=signature.actor,
            action="scheduler sync",
            reason=signature.reason,
            details={"mode": mode, **counts},
        )
    return counts
