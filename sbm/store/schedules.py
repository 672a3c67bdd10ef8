"""Schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from attrs import asdict, field, frozen

from sbm.model.content import Schedule
from sbm.model.content_summary import ScheduleSummary
from sbm.model.cron import Cron
from sbm.model.paging import Page, PageRequest
from sbm.model.time_zones import TimeZones
from sbm.store.paging import read_page
from sbm.store.postgres.rows import names_of_true
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("schedules")


@frozen(kw_only=True)
class ToldSchedule:
    """A schedule, and its cron as the Scheduler gets it, None if it gets none. ``now`` is when."""

    id: int
    minute: str
    hour: str
    day_of_week: str
    day_of_month: str
    month_of_year: str
    time_zone: str | None
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


@frozen(kw_only=True)
class KnownTimeZone:
    """What the server takes the name of a time zone for; ``now`` is when.

    If the name is also an abbreviation, ``as_abbreviation`` is its fixed distance from UTC, which
    then counts.
    """

    is_known: bool
    as_abbreviation: timedelta | None
    now: datetime


async def create(
    transaction: Transaction,
    *,
    minute: str,
    hour: str,
    day_of_week: str,
    day_of_month: str,
    month_of_year: str,
    time_zone: str | None = None,
    send_hours: str | None = None,
    max_age: int | None = None,
    max_rate: int | None = None,
    canary: int | None = None,
    brake_percent: int | None = None,
    brake_after: int | None = None,
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
        time_zone=time_zone,
        send_hours=send_hours,
        max_age=max_age,
        max_rate=max_rate,
        canary=canary,
        brake_percent=brake_percent,
        brake_after=brake_after,
    )


async def look_up_time_zone(transaction: Transaction, *, name: str) -> KnownTimeZone:
    """What the server takes this name of a time zone for."""
    return await transaction.one(QUERIES.look_up_time_zone, KnownTimeZone, time_zone=name)


async def list_other_zones(
    transaction: Transaction, *, time_zone: ZoneInfo, limit: int
) -> tuple[int, list[int]]:
    """How many schedules have another time zone than this one, and the first of them."""
    found = await transaction.many(
        QUERIES.list_other_zones, _counted, time_zone=time_zone.key, limit=limit
    )
    return (found[0][0] if found else 0), [schedule_id for _, schedule_id in found]


async def find_untold_fields(transaction: Transaction, *, fields: Mapping[str, str]) -> list[str]:
    """A message for each of the five cron fields that is wrong, alone or with the others."""
    return await transaction.many(QUERIES.find_untold_fields, str, **fields)


async def list_told(transaction: Transaction) -> list[ToldSchedule]:
    """All schedules, and their crons as the Scheduler gets them, by id."""
    return await transaction.many(QUERIES.list_told, ToldSchedule)


async def list_told_of(transaction: Transaction, *, ids: Collection[int]) -> list[ToldSchedule]:
    """These schedules, and their crons as the Scheduler gets them, by id."""
    return await transaction.many(QUERIES.list_told_of, ToldSchedule, ids=list(ids))


async def describe(transaction: Transaction, *, ids: Collection[int]) -> dict[int, ScheduleSummary]:
    """How many people and which sets use these schedules, by id."""
    found = await transaction.many(QUERIES.describe_schedules, ScheduleSummary, ids=list(ids))
    return {one.schedule_id: one for one in found}


async def find(transaction: Transaction, *, schedule_id: int) -> Schedule | None:
    """The schedule with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_schedule, Schedule, id=schedule_id)


async def lock(transaction: Transaction, *, schedule_id: int) -> Schedule | None:
    """The schedule with this id, which is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.lock_schedule, Schedule, id=schedule_id)


async def update(transaction: Transaction, *, schedule: Schedule) -> None:
    """Store the fields of a schedule that is locked."""
    await transaction.execute(QUERIES.update_schedule, **asdict(schedule))


async def find_users(transaction: Transaction, *, schedule_id: int) -> list[str]:
    """The names of the tables that use a schedule."""
    return await transaction.one(QUERIES.find_users_of_schedule, names_of_true, id=schedule_id)


async def delete(transaction: Transaction, *, schedule_id: int) -> None:
    """Delete a schedule that is locked and that nothing uses."""
    await transaction.execute(QUERIES.delete_schedule, id=schedule_id)


async def hold(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a schedule; if so, it is locked until the transaction ends."""
    return await transaction.maybe(QUERIES.hold_schedule, int, id=row_id) is not None


async def exists(transaction: Transaction, *, row_id: int) -> bool:
    """Whether there is such a schedule."""
    return await find(transaction, schedule_id=row_id) is not None


async def list_page(transaction: Transaction, *, page: PageRequest) -> Page[Schedule]:
    """A page of all schedules, by id."""
    return await read_page(transaction, QUERIES.list_schedules, Schedule, page)


def _counted(*, schedule_id: int, count: int) -> tuple[int, int]:
    return count, schedule_id


async def set_zones(transaction: Transaction, *, zones: TimeZones) -> None:
    """Record the time zones of schedules, for the hours in which messages may leave."""
    await transaction.execute(
        QUERIES.set_zones,
        time_zone=zones.default.key,
        scheduler_time_zone=None if zones.scheduler is None else zones.scheduler.key,
    )


async def is_under_way(transaction: Transaction, *, row_id: int) -> bool:
    """Whether people get messages on this schedule, or of a set whose default schedule it is."""
    return await transaction.one(QUERIES.is_schedule_under_way, bool, id=row_id)
