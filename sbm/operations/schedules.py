"""Make, change and delete schedules."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import asdict, evolve

from sbm.model.content import Schedule
from sbm.model.cron import CRON_FIELDS, UNTOLD, Cron, CronError, tidy
from sbm.operations.drafts import Changes, Draft
from sbm.operations.refusals import InUse, NoSuchRow, WrongValues
from sbm.store import schedules
from sbm.store.postgres.database import Transaction


async def create_schedule(transaction: Transaction, draft: Draft) -> Schedule:
    """Make a schedule; raises WrongValues."""
    draft.found().check()
    await _check_together(transaction, draft.values, before={})
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
    await _check_together(transaction, _fields(changed), before=_fields(found))
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
    transaction: Transaction, fields: Mapping[str, str], *, before: Mapping[str, str]
) -> None:
    """Raise WrongValues if fields that are right one by one are wrong together.

    Imported schedules may have such fields. If a request does not change them, it is not refused.
    """
    kept = {name for name, value in fields.items() if before.get(name) == value}
    unread = kept & Cron.problems(fields).keys()
    found = await _problems(transaction, {**fields, **dict.fromkeys(unread, "*")})
    if not found.keys() <= kept:
        raise WrongValues({name: [sentence] for name, sentence in found.items()})


async def _problems(transaction: Transaction, fields: Mapping[str, str]) -> dict[str, str]:
    """A message for each of the five cron fields that is wrong, by itself or beside the others."""
    try:
        cron = Cron(**fields)
    except CronError as error:
        return error.problems
    if cron.impossible_date:
        return cron.impossible_date
    no_progress = await schedules.find_untold_fields(transaction, fields=fields)
    return dict.fromkeys(no_progress, UNTOLD)


def _fields(schedule: Schedule) -> dict[str, str]:
    return {name: tidy(getattr(schedule, name)) for name in CRON_FIELDS}
