"""The Scheduler is not told of schedules that it has no words for, and does not call for them."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred

from sbm.model.scheduler_call import Scheduling
from tests.operations.test_scheduler_sync import bring_in_line, differences
from tests.pipeline.scheduler.test_outbox import Outbox
from tests.pipeline.scheduler.test_outbox import here as here

NEVER = "day_of_month = '31', month_of_year = '4'"
UNREADABLE = "day_of_week = 'monday'"
UNTELLABLE = "minute = '1/15,7/27,5/16,14/14,12/13,10/11,13/11,17/15,8/9,23/28,4/11'"
FINE = "minute = '30', hour = '8', day_of_week = '*', day_of_month = '*', month_of_year = '*'"
MODES: list[Scheduling] = ["subscription", "schedule"]


def change(here: Outbox, fields: str) -> None:
    here.direct.rows(f"UPDATE schedules SET {fields}")  # noqa: S608


def called(here: Outbox) -> set[str | None]:
    return {one.cron_definition for one in here.door.model.enabled()}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fields", [NEVER, UNREADABLE, UNTELLABLE])
@ensureDeferred
async def test_what_cannot_be_told_is_disabled_and_told_again_once_it_can(
    here: Outbox, mode: Scheduling, fields: str
) -> None:
    await here.announce(mode)
    doing = here.doing(mode)
    change(here, FINE)
    here.subscribe()
    await here.do_all(doing)
    for _ in range(2):
        change(here, fields)
        await here.do_all(doing)
        assert called(here) == set()
        change(here, FINE)
        await here.do_all(doing)
        assert called(here) == {"30 8 * * *"}
    assert {method for method, _ in here.door.changes} == {"POST", "PATCH"}


@pytest.mark.parametrize("mode", MODES)
@ensureDeferred
async def test_what_cannot_be_told_is_never_made(here: Outbox, mode: Scheduling) -> None:
    change(here, NEVER)
    await here.announce(mode)
    here.subscribe()
    here.direct.schedule(day_of_month="30", month_of_year="2")
    await here.do_all(here.doing(mode))
    assert here.door.changes == []
    assert await bring_in_line(here, mode) == []


@pytest.mark.parametrize("mode", MODES)
@ensureDeferred
async def test_what_is_held_for_one_that_cannot_be_told_is_found_and_disabled(
    here: Outbox, mode: Scheduling
) -> None:
    await here.announce(mode)
    change(here, FINE)
    here.subscribe()
    await bring_in_line(here, mode)
    assert called(here) == {"30 8 * * *"}
    here.direct.rows("ALTER TABLE schedules DISABLE TRIGGER USER")
    change(here, NEVER)
    ((action, _),) = await bring_in_line(here, mode)
    assert action == "disable"
    assert called(here) == set()


@ensureDeferred
async def test_a_member_that_nothing_but_its_metadata_tells_of_is_disabled_too(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    here.direct.rows("DELETE FROM scheduler_calls")
    entry = here.door.model.create(endpoint="http://old/", auth_token="x")
    here.direct.rows(
        "UPDATE subscriptions SET metadata = jsonb_build_object('scheduler_schedule_id', %s::text)"
        " WHERE id = %s",
        *(entry.id, subscription),
    )
    change(here, NEVER)
    await here.do_all(here.doing())
    assert not here.door.model.get(entry.id).enabled


@ensureDeferred
async def test_each_member_is_compared_with_what_its_own_schedule_is_told(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    other = here.direct.schedule(day_of_week="7", minute="5/10", hour="2")
    never = here.direct.schedule(day_of_month="31", month_of_year="6")
    for schedule in (here.schedule, other, never):
        here.direct.subscriptions(2, here.set, schedule)
    here.direct.rows("DELETE FROM scheduler_calls")
    assert [action for action, _ in await bring_in_line(here)] == ["create"] * 4
    assert called(here) == {"30 8 * * *", "5-59/10 2 * * 0"}
    assert await differences(here) == []
