"""For another cron, a schedule is made again; and what came due meanwhile is sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.scheduler_call import Scheduling
from sbm.model.scheduler_callback import Target
from sbm.pipeline.scheduler.outbox import SchedulerOutbox
from sbm.sandbox.stand_ins.schedules import Scheduler
from sbm.store import scheduler_callbacks
from sbm.store.postgres.transaction import Transaction
from tests.pipeline.scheduler.test_outbox import (
    Outbox,
    Trouble,
    answering,
    hang_up,
    nothing,
    store_and_hang_up,
)
from tests.pipeline.scheduler.test_outbox import here as here
from tests.web.sockets import comes_true
from tests.wrong_clock import WrongClock

NINE = datetime(2025, 1, 6, 9, 0, tzinfo=timezone.utc)
OLD, NEW = "30 8 * * *", "0 9 * * *"


def change_and_hang_up(here: Outbox) -> Trouble:
    """The PATCH is done, and its answer is lost."""

    def trouble(request: Any, body: Any) -> bool:
        here.door.model.change(request.uri.decode().split("/")[-2], **body)
        request.transport.abortConnection()
        return True

    return trouble


def at(here: Outbox, moment: datetime) -> None:
    """From now on, it is this time at the Scheduler."""
    here.door.model.clock = lambda: moment


def fires(model: Scheduler) -> list[tuple[str, str | None]]:
    """The enabled schedules, and the crons with which they were made."""
    return [(entry.endpoint, entry.fires_at) for entry in model.enabled()]


async def told(here: Outbox, mode: Scheduling) -> tuple[SchedulerOutbox, str]:
    """A schedule that the Scheduler was told of with its old cron; and where it calls."""
    await here.announce(mode)
    doing = here.doing(mode)
    if mode == "subscription":
        endpoint = f"http://sbm/api/v1/subscriptions/{here.subscribe()}/send"
    else:
        endpoint = f"http://sbm/api/v1/schedule/{here.schedule}/send/"
        here.direct.rows("SELECT owe_scheduler_call('schedule', %s)", str(here.schedule))
    await here.do_all(doing)
    assert fires(here.door.model) == [(endpoint, OLD)]
    here.door.asked.clear()
    return doing, endpoint


def change(here: Outbox, cron: str = NEW) -> None:
    minute, hour, day, month, weekday = cron.split()
    here.direct.rows(
        "UPDATE schedules SET minute = %s, hour = %s, day_of_month = %s, month_of_year = %s,"
        " day_of_week = %s WHERE id = %s",
        *(minute, hour, day, month, weekday, here.schedule),
    )


def ticks(here: Outbox) -> list[tuple[str, str, datetime]]:
    return [
        (row["source"], row["state"], row["due_at"].astimezone(timezone.utc))
        for row in here.direct.rows("SELECT * FROM ticks WHERE source <> 'single' ORDER BY due_at")
    ]


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_another_cron_disables_and_then_makes_anew(here: Outbox, mode: Scheduling) -> None:
    doing, endpoint = await told(here, mode)
    change(here)
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["PATCH", "POST"]
    assert here.door.changes[0][1] == {"enabled": False}
    assert fires(here.door.model) == [(endpoint, NEW)]
    (remembered,) = here.direct.rows("SELECT * FROM scheduler_schedules")
    assert (remembered["made_with"], remembered["cron_definition"]) == (NEW, NEW)
    assert here.scheduler_calls() == []


Loss = Callable[[Outbox], list[Trouble]]
LOSSES: dict[str, Loss] = {
    "the PATCH does not come through": lambda here: [hang_up],
    "the PATCH is done without an answer": lambda here: [change_and_hang_up(here)],
    "the PATCH is answered 500": lambda here: [answering(500)],
    "the PATCH is answered 503": lambda here: [answering(503)],
    "the POST does not come through": lambda here: [nothing, hang_up],
    "the POST is done without an answer": lambda here: [nothing, store_and_hang_up(here.door)],
    "the POST is answered 500": lambda here: [nothing, answering(500)],
    "the POST is answered 429": lambda here: [nothing, answering(429)],
    "the list breaks off": lambda here: [
        *(nothing, store_and_hang_up(here.door), answering(500)),
    ],
    "a duplicate is made": lambda here: [
        *(nothing, store_twice_and_hang_up(here)),
    ],
}


def store_twice_and_hang_up(here: Outbox) -> Trouble:
    def trouble(request: Any, body: Any) -> bool:
        here.door.model.create(**body)
        return store_and_hang_up(here.door)(request, body)

    return trouble


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@pytest.mark.parametrize("loss", LOSSES)
@ensureDeferred
async def test_whatever_is_lost_one_schedule_fires_at_the_new_times(
    here: Outbox, loss: str, mode: Scheduling
) -> None:
    doing, endpoint = await told(here, mode)
    change(here)
    here.door.troubles += LOSSES[loss](here)
    await settled(here, doing)
    assert fires(here.door.model) == [(endpoint, NEW)]
    (kept,) = [entry.id for entry in here.door.model.enabled()]
    assert here.direct.value("SELECT remote_id FROM scheduler_schedules") == kept


async def settled(here: Outbox, doing: SchedulerOutbox) -> None:
    """Do what is owed, with all the time that has to pass."""
    while here.direct.value("SELECT count(*) FROM scheduler_calls"):
        here.now += 3600
        here.hurry()
        here.age()
        await doing.one_pass()


@pytest.mark.parametrize("step", range(4))
@ensureDeferred
async def test_a_daemon_that_dies_at_any_step_leaves_it_to_another(here: Outbox, step: int) -> None:
    """It dies after a call and before that is written down."""
    doing, endpoint = await told(here, "subscription")
    change(here)
    dying = here.doing()
    dies_after(dying, step)
    for _ in range(step + 1):
        here.hurry()
        try:
            await dying.one_pass()
        except DaemonDied:
            break
    here.direct.rows(
        "UPDATE scheduler_calls SET lease_until = now() - interval '1 s' WHERE state='claimed'"
    )
    await doing.expire()
    await settled(here, doing)
    assert fires(here.door.model) == [(endpoint, NEW)]


class DaemonDied(Exception):
    pass


def dies_after(doing: Any, steps: int) -> None:
    write_down = doing._write_down
    written: list[Any] = []

    async def maybe(transaction: Any, *about: Any) -> None:
        if len(written) >= steps:
            raise DaemonDied
        written.append(about)
        await write_down(transaction, *about)

    doing._write_down = maybe


@ensureDeferred
async def test_a_cron_that_is_changed_back_before_it_is_told_changes_nothing(
    here: Outbox,
) -> None:
    doing, endpoint = await told(here, "subscription")
    change(here)
    change(here, OLD)
    await here.do_all(doing)
    assert here.door.changes == []
    assert fires(here.door.model) == [(endpoint, OLD)]


@ensureDeferred
async def test_a_cron_that_is_changed_back_meanwhile_is_enabled_again(here: Outbox) -> None:
    doing, endpoint = await told(here, "subscription")
    change(here)
    await here.do_all_of("members", doing)
    at(here, NINE - timedelta(minutes=31))
    await doing.one_pass()
    assert fires(here.door.model) == []
    change(here, OLD)
    at(here, NINE)
    await here.do_all(doing)
    assert fires(here.door.model) == [(endpoint, OLD)]
    assert len(here.door.model) == 1
    # 8:30 of the old cron, which is the new one again, came in between.
    assert here.direct.value("SELECT count(*) FROM ticks WHERE due_at = %s", at_half_past()) == 1


def at_half_past() -> datetime:
    return NINE - timedelta(minutes=30)


@ensureDeferred
async def test_one_that_was_made_with_another_cron_than_it_shows_is_never_enabled(
    here: Outbox,
) -> None:
    """An earlier release has PATCHed it, and then disabled it."""
    doing, endpoint = await told(here, "subscription")
    here.direct.rows("UPDATE subscriptions SET active = false")
    await here.do_all(doing)
    here.direct.rows("UPDATE scheduler_schedules SET made_with = NULL")
    here.direct.rows("UPDATE subscriptions SET active = true")
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["PATCH", "POST"]
    assert fires(here.door.model) == [(endpoint, OLD)]


@ensureDeferred
async def test_an_old_schedule_that_is_gone_is_made_anew(here: Outbox) -> None:
    doing, endpoint = await told(here, "subscription")
    (entry,) = here.door.model.enabled()
    here.door.model.delete(entry.id)
    change(here)
    await here.do_all(doing)
    assert fires(here.door.model) == [(endpoint, NEW)]


async def silent(
    here: Outbox, mode: Scheduling, since: datetime, until: datetime, cron: str = NEW
) -> None:
    """The cron changes, and nothing is enabled at the Scheduler from one moment to the other."""
    doing, _ = await told(here, mode)
    change(here, cron)
    await here.do_all_of("members", doing)
    at(here, since)
    here.hurry()
    await doing.one_pass()
    assert fires(here.door.model) == []
    at(here, until)
    await here.do_all(doing)
    assert [fires_at for _, fires_at in fires(here.door.model)] == [cron]


LONG = timedelta(days=36500)


@ensureDeferred
async def test_the_latest_moment_that_came_in_between_is_ticked_once(here: Outbox) -> None:
    here.grace = LONG
    await silent(here, "schedule", NINE - timedelta(minutes=1), NINE + timedelta(days=2))
    assert ticks(here) == [
        ("clock", "missed", NINE),
        ("clock", "missed", NINE + timedelta(days=1)),
        ("clock", "expanding", NINE + timedelta(days=2)),
    ]
    assert here.direct.value("SELECT silent_since FROM scheduler_schedules") is None


@ensureDeferred
async def test_a_subscription_is_owed_one_send_for_the_moments_in_between(
    here: Outbox,
) -> None:
    here.grace = LONG
    await silent(here, "subscription", NINE - timedelta(minutes=1), NINE + timedelta(days=1))
    (send,) = here.direct.rows("SELECT * FROM sends")
    assert (send["kind"], send["lane"]) == ("next", "single")
    assert ticks(here) == [("clock", "missed", NINE)]
    assert here.direct.unbalanced_ticks() == []


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_a_moment_beyond_the_grace_is_missed(here: Outbox, mode: Scheduling) -> None:
    here.grace = timedelta(seconds=5)
    await silent(here, mode, NINE - timedelta(minutes=1), NINE + timedelta(seconds=1))
    assert ticks(here) == [("clock", "missed", NINE)]
    assert here.direct.rows("SELECT * FROM sends") == []


@ensureDeferred
async def test_a_moment_is_neither_doubled_nor_lost_at_the_ends(here: Outbox) -> None:
    """The old schedule called before the disabling, and the new one calls after the making."""
    here.grace = LONG
    await silent(here, "schedule", NINE + timedelta(seconds=1), NINE + timedelta(hours=23))
    assert ticks(here) == []


@ensureDeferred
async def test_the_moments_are_those_in_the_time_zone_of_the_scheduler(here: Outbox) -> None:
    here.grace, here.time_zone = LONG, ZoneInfo("Africa/Johannesburg")
    seven = NINE - timedelta(hours=2)
    await silent(here, "schedule", seven - timedelta(minutes=1), seven + timedelta(hours=3))
    assert ticks(here) == [("clock", "expanding", seven)]


@ensureDeferred
async def test_a_disabling_without_an_answer_counts_from_when_it_was_done(
    here: Outbox,
) -> None:
    here.grace = LONG
    doing, _ = await told(here, "schedule")
    change(here)
    at(here, NINE - timedelta(seconds=1))
    here.door.troubles.append(change_and_hang_up(here))
    await doing.one_pass()
    at(here, NINE + timedelta(seconds=5))
    here.now += 3600
    await here.do_all(doing)
    assert [method for method, _ in here.door.changes] == ["PATCH", "POST"]
    assert ticks(here) == [("clock", "expanding", NINE)]


@ensureDeferred
async def test_a_making_without_an_answer_counts_from_when_it_was_done(here: Outbox) -> None:
    here.grace = LONG
    doing, _ = await told(here, "schedule")
    change(here)
    at(here, NINE - timedelta(seconds=10))
    await doing.one_pass()
    at(here, NINE - timedelta(seconds=5))
    here.door.troubles.append(store_and_hang_up(here.door))
    here.hurry()
    await doing.one_pass()
    at(here, NINE + timedelta(seconds=5))
    await settled(here, doing)
    assert ticks(here) == []


@ensureDeferred
async def test_an_inactive_subscription_is_made_up_for_nothing(here: Outbox) -> None:
    here.grace = LONG
    doing, _ = await told(here, "subscription")
    change(here)
    await here.do_all_of("members", doing)
    at(here, NINE - timedelta(minutes=1))
    await doing.one_pass()
    here.direct.rows("UPDATE subscriptions SET active = false")
    await here.do_all(doing)
    at(here, NINE + timedelta(days=3))
    here.direct.rows("UPDATE subscriptions SET active = true")
    await here.do_all(doing)
    assert here.direct.rows("SELECT * FROM ticks") == here.direct.rows("SELECT * FROM sends") == []


@ensureDeferred
async def test_a_time_that_is_far_ahead_is_not_believed(here: Outbox) -> None:
    here.grace = LONG
    far = datetime(9999, 1, 1, tzinfo=timezone.utc)
    await silent(here, "schedule", far, far + timedelta(days=2), "* * * * *")
    now = here.direct.value("SELECT now()")
    assert all(due_at <= now for _, _, due_at in ticks(here))


@ensureDeferred
async def test_one_that_was_disabled_by_others_long_ago_is_made_up_for_nothing(
    here: Outbox,
) -> None:
    """An id of which nothing else was known, and whose disabling is tried twice."""
    here.grace = LONG
    at(here, NINE - timedelta(days=30))
    endpoint = f"http://sbm/api/v1/schedule/{here.schedule}/send/"
    old = here.door.model.create(endpoint=endpoint, auth_token="x", enabled=False)
    here.direct.rows(
        "INSERT INTO scheduler_schedules (kind, target, remote_id) VALUES ('schedule', %s, %s)",
        *(str(here.schedule), old.id),
    )
    await here.announce("schedule")
    doing = here.doing("schedule")
    change(here)
    here.door.troubles.append(hang_up)
    await doing.one_pass()
    here.door.model.clock = lambda: here.direct.value("SELECT now()")
    here.now += 3600
    await here.do_all(doing)
    assert fires(here.door.model) == [(endpoint, NEW)]
    assert ticks(here) == []


@ensureDeferred
async def test_weeks_of_every_minute_are_not_all_recorded(here: Outbox) -> None:
    here.grace = LONG
    await silent(here, "schedule", NINE, NINE + timedelta(days=21), "* * * * *")
    found = ticks(here)
    assert found[-1] == ("clock", "expanding", NINE + timedelta(days=21))
    assert [state for _, state, _ in found[:-1]] == ["missed"] * 100


# While others are at it

LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE datname = current_database() AND locktype = 'advisory' AND granted = %s"
)


@pytest.mark.parametrize("mode", ["subscription", "schedule"])
@ensureDeferred
async def test_a_call_and_the_end_of_the_silence_do_not_wait_for_each_other(
    here: Outbox, mode: Literal["subscription", "schedule"]
) -> None:
    """A call locks its target first, and then the rows; so does what makes up for a call."""
    here.grace = LONG
    doing, _ = await told(here, mode)
    change(here)
    await here.do_all_of("members", doing)
    at(here, NINE - timedelta(minutes=1))
    here.hurry()
    await doing.one_pass()
    at(here, NINE + timedelta(minutes=1))
    until: Deferred[None] = Deferred()

    async def call(transaction: Transaction) -> None:
        target = here.direct.value("SELECT target FROM scheduler_calls")
        key = UUID(target) if mode == "subscription" else int(target)
        await scheduler_callbacks.lock_target(transaction, target=Target(kind=mode, id=key))
        await until

    calling = Deferred.fromCoroutine(here.database(mode).transact(call))
    await comes_true(lambda: here.direct.value(LOCKS, True) == 1)
    settling = Deferred.fromCoroutine(here.do_all(doing))
    await comes_true(lambda: here.direct.value(LOCKS, False) == 1)
    here.direct.rows("SELECT FROM schedules FOR NO KEY UPDATE NOWAIT")
    here.direct.rows("SELECT FROM subscriptions FOR NO KEY UPDATE NOWAIT")
    until.callback(None)
    await calling
    await settling
    assert here.direct.value("SELECT count(*) FROM scheduler_callbacks") == 1


# A clock that is wrong meanwhile


def soon() -> tuple[datetime, str]:
    """The last full minute, and the cron of it."""
    minute = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    return minute, f"{minute.minute} {minute.hour} * * *"


@pytest.mark.parametrize("by", [-3 * 86_400.0, -7200.0, 7200.0, 3 * 86_400.0])
@pytest.mark.parametrize("returns", [True, False])
@pytest.mark.parametrize("came_between", [True, False])
@ensureDeferred
async def test_a_clock_that_jumps_while_a_schedule_is_replaced_changes_nothing(
    here: Outbox, by: float, returns: bool, came_between: bool
) -> None:
    """It jumps before the disabling and returns after it, or jumps after it."""
    wrong_clock = WrongClock(here.direct)
    doing, _ = await told(here, "schedule")
    moment, cron = soon()
    change(here, cron)
    if returns:
        wrong_clock.set(by)
    at(here, moment + timedelta(seconds=-1 if came_between else 1))
    here.hurry()
    await doing.one_pass()
    assert fires(here.door.model) == []
    wrong_clock.set(0 if returns else by)
    at(here, moment + timedelta(seconds=2))
    await here.do_all(doing)
    assert [fires_at for _, fires_at in fires(here.door.model)] == [cron]
    assert ticks(here) == ([("clock", "expanding", moment)] if came_between else [])
