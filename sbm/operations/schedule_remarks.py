"""Remarks about schedules for operators: both day fields, never due, never told, time zones."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from attrs import frozen

from sbm.model.cron import Cron
from sbm.model.time_zones import TimeZones
from sbm.store.schedules import ToldSchedule

TICKS_SHOWN = 3


@frozen(kw_only=True)
class Remark:
    """A remark about a schedule; ``is_fault``: the schedule cannot work as it was meant to.

    ``next_ticks`` are in the time zone of the schedule, in ISO 8601.
    """

    id: int
    fate: str
    reason: str
    next_ticks: tuple[str, ...] = ()
    is_fault: bool = True

    def __str__(self) -> str:
        told = f"schedule {self.id}: {self.reason}"
        return f"{told}; next ticks {', '.join(self.next_ticks)}" if self.next_ticks else told


def remarks(schedule: ToldSchedule, zones: TimeZones) -> Iterator[Remark]:
    """The remarks about a schedule; ``zones`` say in which time zone its fields are read."""
    cron = schedule.cron
    if zones.disregards(schedule.time_zone):
        yield _other_zone(schedule, zones)
    if cron is None:
        yield Remark(
            id=schedule.id,
            fate="unreadable",
            reason="its fields cannot be read: it is never due",
        )
        return
    zone = zones.of(schedule.time_zone)
    if zone is None:
        yield Remark(
            id=schedule.id,
            fate="unknown time zone",
            reason=f"this machine does not know its time zone, {schedule.time_zone}: it is never"
            " due",
        )
    elif cron.restricts_both_days:
        yield _both_days(schedule, cron, zone)
    if cron.impossible_date:
        yield Remark(
            id=schedule.id,
            fate="never due",
            reason=f"there is no day_of_month {cron.day_of_month} in month_of_year"
            f" {cron.month_of_year}: it is never due, and the Scheduler is not told of it",
        )
    elif schedule.cron_definition is None:
        yield Remark(
            id=schedule.id,
            fate="never told",
            reason="a field of it has no form of 64 characters that the Scheduler understands:"
            " it is not told of it",
        )


def _other_zone(schedule: ToldSchedule, zones: TimeZones) -> Remark:
    assert zones.scheduler is not None
    return Remark(
        id=schedule.id,
        fate="other time zone",
        reason=f"its time zone, {schedule.time_zone}, does not count: the Scheduler makes its"
        f" ticks, and reads it in {zones.scheduler.key}",
    )


def _both_days(schedule: ToldSchedule, cron: Cron, zone: ZoneInfo) -> Remark:
    aside = " (Unix cron would take either)" if cron.took_either_day else ""
    ticks = cron.upcoming(schedule.now, zone, count=TICKS_SHOWN)
    return Remark(
        id=schedule.id,
        fate="both days",
        reason=f"a day must match day_of_month {cron.day_of_month} and day_of_week"
        f" {cron.day_of_week}{aside}",
        next_ticks=tuple(tick.astimezone(zone).isoformat(timespec="minutes") for tick in ticks),
        is_fault=False,
    )
