"""Find the active subscriptions that no tick reaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

from sbm.model.ids import BEFORE_ALL
from sbm.model.silence import SilentGroup, SilentPerson
from sbm.model.time_zones import TimeZones
from sbm.store import schedules, silent_subscriptions
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

# A batch is one transaction.
BATCH = 10_000


async def find_never_due(transaction: Transaction, *, zones: TimeZones) -> list[int]:
    """The schedules that are never due, or that the Scheduler cannot be told of."""
    found, slices = [], transaction.slices()
    for one in await schedules.list_told(transaction):
        zone, cron = zones.of(one.time_zone), one.cron
        is_due = (
            cron is not None
            and zone is not None
            and not cron.impossible_date
            and (zones.scheduler is None or one.cron_definition is not None)
        )
        if not is_due:
            found.append(one.id)
        if slices.is_over:
            await slices.next_turn()
    return found


async def search(
    database: Database, *, zones: TimeZones, keep: Callable[[], Awaitable[None]]
) -> None:
    """Record who is silent, and count them; ``keep`` is called before each batch."""
    never = await database.transact(find_never_due, zones=zones)
    after: UUID = BEFORE_ALL
    active, counts = 0, Counter[SilentGroup]()
    while True:
        await keep()
        batch = await database.transact(
            silent_subscriptions.search, after=after, limit=BATCH, never=never
        )
        if batch is None:
            break
        after, active = batch.last, active + batch.active
        counts.update(batch.counts)
    await database.transact(silent_subscriptions.keep_counts, active=active, counts=counts)


async def look(
    database: Database, *, zones: TimeZones, tell: Callable[[SilentPerson], object]
) -> tuple[int, Counter[SilentGroup]]:
    """Call ``tell`` with each silent subscription, and record nothing.

    Returns how many subscriptions are active, and the counts.
    """
    never = await database.transact(find_never_due, zones=zones)
    after: UUID = BEFORE_ALL
    active, counts = 0, Counter[SilentGroup]()
    while True:
        page = await database.transact(
            silent_subscriptions.look, after=after, limit=BATCH, never=never
        )
        if page is None:
            return active, counts
        for one in page.found:
            counts[_group_of(one)] += 1
            tell(one)
        after, active = page.last, active + page.active


def _group_of(one: SilentPerson) -> SilentGroup:
    return SilentGroup(
        cause=one.cause,
        messageset_id=one.messageset_id,
        lang=one.lang,
        schedule_id=one.schedule_id,
    )
