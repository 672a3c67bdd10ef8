"""Make, change and delete schedules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from attrs import asdict, evolve

from sbm.model.content import Schedule
from sbm.model.cron import CRON_FIELDS, UNTOLD, Cron, CronError, tidy
from sbm.model.time_zones import find_time_zone
from sbm.operations.drafts import Changes, Draft
from sbm.operations.refusals import InUse, NoSuchRow, WrongValues
from sbm.store import schedules
from sbm.store.postgres.transaction import Transaction

MOST_PERCENT = 99

UNKNOWN_ZONE = "Enter the IANA name of a time zone, such as Africa/Johannesburg."
AMBIGUOUS_ZONE = (
    "The database does not know this name, or reads it in another way: enter the name of a place,"
    " such as Africa/Johannesburg."
)
ZONE_OF_SCHEDULER = (
    "The Scheduler makes the ticks, and it reads all schedules in {zone}: enter null, or {zone}."
    " A cron in one time zone cannot follow the daylight saving of another."
)


async def create_schedule(transaction: Transaction, draft: Draft) -> Schedule:
    """Make a schedule; raises WrongValues."""
    draft.found().check()
    await _check_together(transaction, draft, draft.values, before={})
    return await schedules.create(transaction, **draft.values)


async def change_schedule(
    transaction: Transaction, changes: Changes, *, schedule_id: int
) -> Schedule:
    """Change a schedule; raises NoSuchRow or WrongValues."""
    found = await schedules.lock(transaction, schedule_id=schedule_id)
    if found is None:
        raise NoSuchRow
    draft = changes(asdict(found))
    draft.found().check()
    changed = evolve(found, **draft.values)
    await _check_together(transaction, draft, asdict(changed), before=asdict(found))
    await schedules.update(transaction, schedule=changed)
    return changed


async def delete_schedule(transaction: Transaction, *, schedule_id: int) -> None:
    """Delete a schedule that nothing uses; raises NoSuchRow or InUse."""
    if await schedules.lock(transaction, schedule_id=schedule_id) is None:
        raise NoSuchRow
    users = await schedules.find_users(transaction, schedule_id=schedule_id)
    if users:
        raise InUse(f"schedule {schedule_id}", users)
    await schedules.delete(transaction, schedule_id=schedule_id)


async def _check_together(
    transaction: Transaction, draft: Draft, values: Mapping[str, Any], *, before: Mapping[str, Any]
) -> None:
    """Raise WrongValues if values that are right one by one are wrong together, or cannot be used.

    Imported schedules may have such values, and those of another way of scheduling. If a request
    does not change them, it is not refused.
    """
    found = await _cron_problems(transaction, _crons(values), before=_crons(before))
    zone = values.get("time_zone")
    if zone is not None and zone != before.get("time_zone"):
        sentence = await _zone_problem(transaction, zone, ticking=draft.ticking_zone)
        found |= {"time_zone": sentence} if sentence else {}
    found |= _brake_problems(values)
    if found:
        raise WrongValues({name: [sentence] for name, sentence in found.items()})


async def _cron_problems(
    transaction: Transaction, fields: Mapping[str, str], *, before: Mapping[str, str]
) -> dict[str, str]:
    """A message for each wrong cron field, if one of them is changed."""
    kept = {name for name, value in fields.items() if before.get(name) == value}
    unread = kept & Cron.problems(fields).keys()
    found = await _problems(transaction, {**fields, **dict.fromkeys(unread, "*")})
    return {} if found.keys() <= kept else found


async def _problems(transaction: Transaction, fields: Mapping[str, str]) -> dict[str, str]:
    """A message for each of the five cron fields that is wrong, by itself or beside the others."""
    try:
        cron = Cron(**fields)
    except CronError as error:
        return error.problems
    if cron.impossible_date:
        return cron.impossible_date
    untold = await schedules.find_untold_fields(transaction, fields=fields)
    return dict.fromkeys(untold, UNTOLD)


async def _zone_problem(
    transaction: Transaction, name: str, *, ticking: ZoneInfo | None
) -> str | None:
    """Why a schedule cannot have this time zone; ``ticking`` is the Scheduler's, if it ticks."""
    zone = find_time_zone(name)
    if zone is None:
        return UNKNOWN_ZONE
    if ticking is not None and name != ticking.key:
        return ZONE_OF_SCHEDULER.format(zone=ticking.key)
    known = await schedules.look_up_time_zone(transaction, name=name)
    return None if known.is_known and _is_read_alike(zone, known) else AMBIGUOUS_ZONE


def _brake_problems(values: Mapping[str, Any]) -> dict[str, str]:
    """Why a schedule cannot have this brake."""
    percent, after = values.get("brake_percent"), values.get("brake_after")
    if percent is not None and percent > MOST_PERCENT:
        return {"brake_percent": f"Ensure this value is less than or equal to {MOST_PERCENT}."}
    if percent is not None and after is None:
        return {"brake_after": "Enter a number: brake_percent needs it."}
    if percent is None and after is not None:
        return {"brake_percent": "Enter a number: brake_after needs it."}
    return {}


def _is_read_alike(zone: ZoneInfo, known: schedules.KnownTimeZone) -> bool:
    """Whether the server's abbreviation, if the name is one, is this zone in each month."""
    if known.as_abbreviation is None:
        return True
    year = (known.now + timedelta(days=30 * month) for month in range(13))
    return all(moment.astimezone(zone).utcoffset() == known.as_abbreviation for moment in year)


def _crons(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: tidy(values[name]) for name in CRON_FIELDS if name in values}
