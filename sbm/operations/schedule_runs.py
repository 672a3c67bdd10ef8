"""Looking for those who are behind: what has to be known of the schedules before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from attrs import define, field

from sbm.model.cron import Cron
from sbm.runtime.time_slices import TimeSlice
from sbm.store import estimates, schedule_runs
from sbm.store.postgres.database import Database
from sbm.store.schedule_runs import EVERYBODY, ScheduleRuns, Wanted

SURVEY_BATCH = 20_000
RUNS_BATCH = 1000
# Of a schedule that is due every minute, this is a month.
MAX_RUNS = 50_000


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

    async def begin(
        self, *, as_of: datetime | None = None, wanted: Wanted = EVERYBODY
    ) -> ScheduleRuns:
        """Prepare a search for where they should be at a moment, or now."""
        await self._forget_ended()
        search_id, until = await self.database.transact(schedule_runs.begin, as_of=as_of)
        since, size = await self._survey(wanted)
        if since is not None:
            _, crons = await self.database.transact(estimates.find_crons)
            for schedule_id, cron in crons.items():
                await self.keep()
                await self._add_runs(search_id, schedule_id, await self._runs(cron, since, until))
            await self.database.transact(schedule_runs.end_runs)
        return ScheduleRuns(id=search_id, as_of=until, size=size)

    async def end(self, search: ScheduleRuns) -> None:
        """Forget a search that nobody goes on with."""
        await self._forget(search.id)

    async def _forget_ended(self) -> None:
        for search_id in await self.database.transact(schedule_runs.list_ended):
            await self._forget(search_id)

    async def _forget(self, search_id: int) -> None:
        while await self.database.transact(
            schedule_runs.delete_runs, search_id=search_id, limit=SURVEY_BATCH
        ):
            await self.keep()
        await self.database.transact(schedule_runs.delete, search_id=search_id)

    async def _survey(self, wanted: Wanted) -> tuple[datetime | None, int]:
        """Since when the runs of the schedules matter, if at all, and how many there are in all."""
        since: datetime | None = None
        size, after = 0, schedule_runs.FIRST
        while part := await self.database.transact(
            schedule_runs.survey, after=after, limit=SURVEY_BATCH, wanted=wanted
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
        slices = TimeSlice(reactor=self.database.reactor)
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
                schedule_runs.add_runs,
                search_id=search_id,
                schedule_id=schedule_id,
                first=start + 1,
                runs=runs[start : start + RUNS_BATCH],
            )
