"""Looking for those who are behind: what has to be known of the schedules before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import define, field, frozen

from sbm.model.cron import Cron
from sbm.slices import Slices
from sbm.store import estimates
from sbm.store.database import Database, Transaction
from sbm.store.errors import DatabaseUnavailable
from sbm.store.queries import load

QUERIES = load("searches")

FIRST = UUID(int=0)
SURVEY_BATCH = 20_000
RUNS_BATCH = 1000
# Of a schedule that is due every minute, this is a month.
MAX_RUNS = 50_000


@frozen(kw_only=True)
class Search:
    """A search: its id, for which moment, and how many subscriptions there are to look at."""

    id: int
    as_of: datetime
    size: int


@frozen(kw_only=True)
class Wanted:
    """Which subscriptions are meant; None is no filter."""

    messageset_id: int | None = None
    schedule_id: int | None = None


EVERYBODY = Wanted()


async def _go_on() -> None:
    """Nothing keeps a search from going on."""


@define(eq=False, kw_only=True)
class Preparation:
    """Works out when every schedule was due, as far as it matters.

    ``keep`` is awaited every now and then, and raises what is to end it.
    """

    database: Database
    time_zone: ZoneInfo
    keep: Callable[[], Awaitable[None]] = field(default=_go_on)

    async def begin(self, *, as_of: datetime | None = None, wanted: Wanted = EVERYBODY) -> Search:
        """Prepare a search for where they should be at a moment, or now."""
        await self._forget_ended()
        search_id, until = await self.database.transact(begin, as_of=as_of)
        since, size = await self._survey(wanted)
        if since is not None:
            _, crons = await self.database.transact(estimates.find_crons)
            for schedule_id, cron in crons.items():
                await self.keep()
                await self._add_runs(search_id, schedule_id, await self._runs(cron, since, until))
            await self.database.transact(end_runs)
        return Search(id=search_id, as_of=until, size=size)

    async def end(self, search: Search) -> None:
        """Forget a search that nobody goes on with."""
        await self._forget(search.id)

    async def _forget_ended(self) -> None:
        for search_id in await self.database.transact(list_ended):
            await self._forget(search_id)

    async def _forget(self, search_id: int) -> None:
        while await self.database.transact(delete_runs, search_id=search_id, limit=SURVEY_BATCH):
            await self.keep()
        await self.database.transact(delete, search_id=search_id)

    async def _survey(self, wanted: Wanted) -> tuple[datetime | None, int]:
        """Since when the runs of the schedules matter, if at all, and how many there are in all."""
        since: datetime | None = None
        size, after = 0, FIRST
        while part := await self.database.transact(
            survey, after=after, limit=SURVEY_BATCH, wanted=wanted
        ):
            size += part.looked_at
            if part.since is not None and (since is None or part.since < since):
                since = part.since
            after = part.last
            await self.keep()
        return since, size

    async def _runs(self, cron: Cron, since: datetime, until: datetime) -> list[datetime]:
        """When the schedule was due, in order: the latest MAX_RUNS of them."""
        runs: list[datetime] = []
        slices = Slices(self.database.reactor)
        while len(runs) < MAX_RUNS:
            run = cron.latest_between(since, until, self.time_zone)
            if run is None:
                break
            runs.append(run)
            until = run - timedelta(microseconds=1)
            if slices.is_over:
                await slices.next_turn()
            if len(runs) % RUNS_BATCH == 0:
                await self.keep()
        return runs[::-1]

    async def _add_runs(self, search_id: int, schedule_id: int, runs: list[datetime]) -> None:
        for start in range(0, len(runs), RUNS_BATCH):
            await self.database.transact(
                add_runs,
                search_id=search_id,
                schedule_id=schedule_id,
                first=start + 1,
                runs=runs[start : start + RUNS_BATCH],
            )


@frozen(kw_only=True)
class Part:
    """What was found out about some subscriptions, the last of which has this id."""

    last: UUID
    looked_at: int
    since: datetime | None


async def begin(transaction: Transaction, *, as_of: datetime | None) -> tuple[int, datetime]:
    """Begin a search; returns its id, and for which moment it is."""
    row = await transaction.row(QUERIES.begin_search, as_of=as_of)
    assert row is not None
    return row["id"], row["as_of"]


async def survey(
    transaction: Transaction, *, after: UUID, limit: int, wanted: Wanted
) -> Part | None:
    """Look over the next ``limit`` subscriptions by id; None: there are no more."""
    row = await transaction.row(
        QUERIES.survey_subscriptions,
        after=after,
        limit=limit,
        messageset_id=wanted.messageset_id,
        schedule_id=wanted.schedule_id,
    )
    return Part(**row) if row else None


async def add_runs(
    transaction: Transaction,
    *,
    search_id: int,
    schedule_id: int,
    first: int,
    runs: Sequence[datetime],
) -> None:
    """Remember runs of a schedule, in order; ``first`` is the number of the first, from 1."""
    await transaction.execute(
        QUERIES.insert_runs,
        search_id=search_id,
        schedule_id=schedule_id,
        first=first,
        runs=list(runs),
    )


async def end_runs(transaction: Transaction) -> None:
    """All runs are there: let the planner know."""
    await transaction.execute(QUERIES.analyze_runs)


async def check(transaction: Transaction, *, search_id: int) -> None:
    """Raise DatabaseUnavailable if a crash of the database has lost the search, and so its runs."""
    if await transaction.row(QUERIES.find_search, search_id=search_id) is None:
        raise DatabaseUnavailable("the search was lost with the database; begin it anew")


async def list_ended(transaction: Transaction) -> list[int]:
    """The searches that nobody can be at any more."""
    return [row["id"] for row in await transaction.rows(QUERIES.list_ended_searches)]


async def delete_runs(transaction: Transaction, *, search_id: int, limit: int) -> int:
    """Delete some runs of a search; returns how many."""
    return await transaction.execute(QUERIES.delete_runs, search_id=search_id, limit=limit)


async def delete(transaction: Transaction, *, search_id: int) -> None:
    """Delete a search whose runs are gone."""
    await transaction.execute(QUERIES.delete_search, search_id=search_id)
