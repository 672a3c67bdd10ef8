"""What the Scheduler holds, compared with what it should hold, and brought in line."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from uuid import UUID, uuid4

from attrs import define, field

from sbm.clients.scheduler import Entry, Scheduler
from sbm.model.scheduler_call import Difference, Scheduling, endpoint, target_of
from sbm.store import scheduler_schedules
from sbm.store.postgres.database import Database
from sbm.store.scheduler_schedules import Listed

CHUNK = 1000


@define(eq=False, slots=False, kw_only=True)
class Comparison:
    """Lists what the Scheduler holds, and tells the differences, a chunk at a time.

    Nothing is held in memory but a page. The calls are not made here: they are owed, and made by
    the daemons. ``listed`` is called with the number of entries of each page.
    """

    _database: Database
    _scheduler: Scheduler
    _mode: Scheduling
    _public_url: str
    _auth_token: str | None = field(repr=False)
    _listed: Callable[[int], object] = lambda _: None

    async def bring_in_line(self, *, is_dry: bool = False) -> AsyncGenerator[Difference, None]:
        """Owe what brings both sides in line, unless ``is_dry``; yields the differences.

        Raises Unavailable where the Scheduler does not tell all that it holds.
        """
        listing_id = uuid4()
        since = await self._database.transact(scheduler_schedules.now)
        try:
            async for page in self._scheduler.pages():
                entries = [self._read(entry) for entry in page]
                await self._database.transact(
                    scheduler_schedules.note, listing_id=listing_id, entries=entries
                )
                if not is_dry:
                    await self._database.transact(scheduler_schedules.note_crons, entries=entries)
                self._listed(len(page))
            if not is_dry:
                await self._database.transact(
                    scheduler_schedules.forget_unlisted_crons, since=since
                )
            async for chunk in self._chunks(listing_id, since):
                if chunk and not is_dry:
                    await self._database.transact(
                        scheduler_schedules.apply, differences=chunk, since=since
                    )
                for difference in chunk:
                    if difference.action is not None:
                        yield difference
        finally:
            await self._database.transact(scheduler_schedules.forget, listing_id=listing_id)

    async def _chunks(self, listing_id: UUID, since: datetime) -> AsyncIterator[list[Difference]]:
        # What is there for nobody first: those that take its place are remembered after it.
        last: str | None = ""
        while last is not None:
            last, surplus = await self._database.transact(
                scheduler_schedules.list_surplus, listing_id=listing_id, after=last, limit=CHUNK
            )
            yield surplus
        yield await self._database.transact(
            scheduler_schedules.compare_schedules,
            listing_id=listing_id,
            mode=self._mode,
            since=since,
        )
        after: UUID | None = scheduler_schedules.FIRST_ID
        while after is not None:
            after, found = await self._database.transact(
                scheduler_schedules.compare_subscriptions,
                listing_id=listing_id,
                mode=self._mode,
                since=since,
                after=after,
                limit=CHUNK,
            )
            yield found

    def _read(self, entry: Entry) -> Listed:
        found = target_of(entry.endpoint, self._public_url)
        kind, target = found or (None, None)
        is_addressed = (
            kind is not None
            and target is not None
            and entry.endpoint == endpoint(self._public_url, kind, target)
            and entry.auth_token in (None, self._auth_token)
        )
        return Listed(
            remote_id=entry.id,
            kind=kind,
            target=target,
            cron_definition=entry.cron_definition,
            made_with=entry.made_with,
            enabled=entry.enabled,
            is_addressed=is_addressed,
            created_at=entry.created_at.isoformat(),
        )


def summary(counts: Counter[str]) -> str:
    """The differences in words."""
    names = ("create", "recreate", "update", "enable", "disable")
    return ", ".join(f"{counts[name]} to {name}" for name in names)
