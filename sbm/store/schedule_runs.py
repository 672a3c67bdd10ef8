"""When every schedule was due: the data that a search for behind subscriptions needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from attrs import frozen

from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("schedule_runs")


@frozen(kw_only=True)
class ScheduleRuns:
    """A search: its id, its moment, and how many subscriptions there are to look at."""

    id: int
    as_of: datetime
    size: int


@frozen(kw_only=True)
class RunFilter:
    """Which subscriptions to search; None is no filter."""

    messageset_id: int | None = None
    schedule_id: int | None = None
    ids: Sequence[UUID] | None = None


EVERYBODY = RunFilter()


@frozen(kw_only=True)
class SurveyPart:
    """The findings about some subscriptions, the last of which has this id."""

    last: UUID
    looked_at: int
    since: datetime | None


async def begin(transaction: Transaction, *, as_of: datetime | None) -> tuple[int, datetime]:
    """Begin a search; returns its id and its moment."""
    return await transaction.one(QUERIES.begin_search, _begun, as_of=as_of)


async def survey(
    transaction: Transaction, *, after: UUID, limit: int, wanted: RunFilter
) -> SurveyPart | None:
    """Look at the next ``limit`` subscriptions by id; None if there are no more."""
    return await transaction.maybe(
        QUERIES.survey_subscriptions,
        SurveyPart,
        after=after,
        limit=limit,
        messageset_id=wanted.messageset_id,
        schedule_id=wanted.schedule_id,
        ids=None if wanted.ids is None else list(wanted.ids),
    )


async def add_runs(
    transaction: Transaction,
    *,
    search_id: int,
    schedule_id: int,
    first: int,
    runs: Sequence[datetime],
) -> None:
    """Store runs of a schedule, in order; ``first`` is the number of the first, from 1."""
    await transaction.execute(
        QUERIES.insert_runs,
        search_id=search_id,
        schedule_id=schedule_id,
        first=first,
        runs=list(runs),
    )


async def end_runs(transaction: Transaction) -> None:
    """Update the planner's statistics, after all runs were stored."""
    await transaction.execute(QUERIES.analyze_runs)


async def check(transaction: Transaction, *, search_id: int) -> None:
    """Raise DatabaseUnavailable if the search and its runs were lost in a crash of the database."""
    if await transaction.maybe(QUERIES.find_search, int, search_id=search_id) is None:
        raise DatabaseUnavailable("the search was lost with the database; begin it again")


async def list_ended(transaction: Transaction) -> list[int]:
    """The searches that no daemon can be doing any more."""
    return await transaction.many(QUERIES.list_ended_searches, int)


async def delete_runs(transaction: Transaction, *, search_id: int, limit: int) -> int:
    """Delete some runs of a search; returns how many."""
    return await transaction.execute(QUERIES.delete_runs, search_id=search_id, limit=limit)


async def delete(transaction: Transaction, *, search_id: int) -> None:
    """Delete a search whose runs were deleted."""
    await transaction.execute(QUERIES.delete_search, search_id=search_id)


def _begun(*, search_id: int, as_of: datetime) -> tuple[int, datetime]:
    return search_id, as_of
