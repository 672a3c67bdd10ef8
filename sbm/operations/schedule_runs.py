"""Compute when every schedule was due, for the search for subscriptions that are behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from sbm.model.ids import BEFORE_ALL
from sbm.model.time_zones import TimeZones, ZonedCron
from sbm.runtime.time_slices import TimeSlice
from sbm.store import estimates, schedule_runs
from sbm.store.postgres.database import Database
from sbm.store.schedule_runs import EVERYBODY, RunFilter, ScheduleRuns

SURVEY_BATCH = 20_000
RUNS_BATCH = 1000
# A schedule that is due every minute has about so many runs in a month.
MAX_RUNS = 50_000

# Awaited now and then during the work; raises an exception to end the work.
KeepAlive = Callable[[], Awaitable[None]]


async def _go_on() -> None:
    """Let the work go on."""


async def prepare(
    database: Database,
    *,
    zones: TimeZones,
    as_of: datetime | None = None,
    wanted: RunFilter = EVERYBODY,
    keep: KeepAlive = _go_on,
) -> ScheduleRuns:
    """Compute when every schedule was due until a moment, or until now, as far as it matters.

    The fields of each schedule are read in its time zone of now, whatever it had before.
    """
    await _forget_ended(database, keep)
    runs_id, until = await database.transact(schedule_runs.begin, as_of=as_of)
    since, size = await _survey(database, wanted, keep)
    if since is not None:
        _, crons = await database.transact(estimates.find_crons, zones=zones)
        for schedule_id, cron in crons.items():
            await keep()
            runs = await _list_runs(database.reactor, cron, since=since, until=until, keep=keep)
            await _add_runs(database, runs_id=runs_id, schedule_id=schedule_id, runs=runs)
        await database.transact(schedule_runs.end_runs)
    return ScheduleRuns(id=runs_id, as_of=until, size=size)


async def forget(database: Database, *, runs_id: int, keep: KeepAlive = _go_on) -> None:
    """Delete runs that are no longer needed."""
    while await database.transact(schedule_runs.delete_runs, search_id=runs_id, limit=SURVEY_BATCH):
        await keep()
    await database.transact(schedule_runs.delete, search_id=runs_id)


async def _forget_ended(database: Database, keep: KeepAlive) -> None:
    for runs_id in await database.transact(schedule_runs.list_ended):
        await forget(database, runs_id=runs_id, keep=keep)


async def _survey(
    database: Database, wanted: RunFilter, keep: KeepAlive
) -> tuple[datetime | None, int]:
    """The earliest moment from which runs matter, if any, and the number of subscriptions."""
    since: datetime | None = None
    size, after = 0, BEFORE_ALL
    while part := await database.transact(
        schedule_runs.survey, after=after, limit=SURVEY_BATCH, wanted=wanted
    ):
        size += part.looked_at
        if part.since is not None and (since is None or part.since < since):
            since = part.since
        after = part.last
        await keep()
    return since, size


async def _list_runs(
    reactor: object,
    schedule: ZonedCron,
    *,
    since: datetime,
    until: datetime,
    keep: KeepAlive,
) -> list[datetime]:
    """When the schedule was due, in order: the latest MAX_RUNS times."""
    runs: list[datetime] = []
    slices = TimeSlice(reactor=reactor)
    while len(runs) < MAX_RUNS:
        run = schedule.cron.latest_between(since, until, schedule.time_zone)
        if run is None:
            break
        runs.append(run)
        until = run - timedelta(microseconds=1)
        if slices.is_over:
            await slices.next_turn()
        if len(runs) % RUNS_BATCH == 0:
            await keep()
    return runs[::-1]


async def _add_runs(
    database: Database, *, runs_id: int, schedule_id: int, runs: Sequence[datetime]
) -> None:
    for start in range(0, len(runs), RUNS_BATCH):
        await database.transact(
            schedule_runs.add_runs,
            search_id=runs_id,
            schedule_id=schedule_id,
            first=start + 1,
            runs=runs[start : start + RUNS_BATCH],
        )
