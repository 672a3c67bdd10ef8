"""Schedules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import asdict, field, frozen

from sbm.model.content import Schedule
from sbm.model.cron import UNTOLD, Cron, CronError
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_part
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.rows import names_of_true
from sbm.store.postgres.statements import load

QUERIES = load("schedules")


@frozen(kw_only=True)
class ToldSchedule:
    """A schedule, and what the Scheduler is told of it: null is nothing. ``now`` is when."""

    id: int
    minute: str
    hour: str
    day_of_week: str
    day_of_month: str
    month_of_year: str
    cron_definition: str | None
    now: datetime
    cron: Cron | None = field(init=False)

    @cron.default
    def _read(self) -> Cron | None:
        return Cron.read(
            minute=self.minute,
            hour=self.hour,
            day_of_week=self.day_of_week,
            day_of_month=self.day_of_month,
            month_of_year=self.month_of_year,
        )


async def create(
    transaction: Transaction,
    *,
    minute: str,
    hour: str,
    day_of_week: str,
    day_of_month: str,
    month_of_year: str,
) -> Schedule:
    """Make a schedule of valid cron fields."""
    return await transaction.one(
        QUERIES.insert_schedule,
        Schedule,
        minute=minute,
        hour=hour,
        day_of_week=day_of_week,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
    )


async def problems(transaction: Transaction, *, fields: Mapping[str, str]) -> dict[str, str]:
    """A message for each of the five cron fields that is wrong, by itself or beside the others."""
    try:
        cron = Cron(**fields)
    except CronError as error:
        return error.problems
    if cron.impossible_date:
        return cron.impossible_date
    untold = await transaction.many(QUERIES.find_untold_fields, str, **fields)
    return dict.fromkeys(untold, UNTOLD)


async def list_told(transaction: Transaction) -> list[ToldSchedule]:
    """All schedules, and what the Scheduler is told of them, by id."""
    return await transaction.many(QUERIES.list_told, ToldSchedule)


async def find(transaction: Transaction, *, schedule_id: int) -> Schedule | None:
    """The schedule with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_schedule, Schedule, id=schedule_id)


async def lock(transaction: Transaction, *, schedule_id: int) -> Schedule | None:
    """The schedule with this id, kept from everybody else until the transaction ends."""
    return await transaction.maybe(QUERIES.lock_schedule, Schedule, id=schedule_id)


async def update(transaction: Transaction, *, schedule: Schedule) -> None:
    """Store the fields of a schedule that is locked."""
    await transaction.execute(QUERIES.update_schedule, **asdict(schedule))


async def find_users(transaction: Transaction, *, schedule_id: int) -> list[str]:
    """What uses a schedule: names of tables."""
    return await transaction.one(QUERIES.find_users_of_schedule, names_of_true, id=schedule_id)


async def delete(transaction: Transaction, *, schedule_id: int) -> None:
    """Delete a schedule that is locked and that nothing uses."""
    await transaction.execute(QUERIES.delete_schedule, id=schedule_id)


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a schedule, and then keep it until the transaction ends."""
    return await transaction.maybe(QUERIES.hold_schedule, int, id=row_id) is not None


async def exists(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a schedule."""
    return await find(transaction, schedule_id=row_id) is not None


async def list_page(transaction: Transaction, *, window: PageRequest) -> Page[Schedule]:
    """A part of all schedules, by id."""
    return await read_part(transaction, QUERIES.list_schedules, Schedule, window)
