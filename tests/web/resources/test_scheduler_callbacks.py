"""The Scheduler's calls: one that is repeated gets the first answer, and triggers nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from attrs import define, evolve
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sbm.model.scheduler_call import Scheduling as Mode
from sbm.model.scheduler_callback import Crons, Target
from sbm.pipeline.database_clock import ClockReading, DatabaseClock
from sbm.pipeline.upkeep.housekeeping import CallbackHousekeeping
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from sbm.web.http.reply import Reply
from sbm.web.resources.scheduler_callbacks import (
    JOINED,
    LOG_SECONDS,
    UNMATCHED,
    CallbackAnswer,
    SchedulerCallbacks,
)
from tests.arrange import Arranged, arranged
from tests.web.conftest import SCHEDULER_TOKEN, Answer, Api, a_scheduling, served
from tests.web.sockets import comes_true
from tests.wrong_clock import WrongClock

HALF_AN_HOUR = timedelta(minutes=30)
RECORDED = "SELECT * FROM scheduler_callbacks ORDER BY created_at"
TICKS = "SELECT count(*) FROM ticks WHERE source = 'post-back'"
TRIGGERS = "SELECT COALESCE(sum(triggers), 0) FROM ticks WHERE source = 'single'"


@define
class Joining:
    """An API that joins the Scheduler's calls, and what it counts."""

    api: Api
    direct: Arranged
    telemetry: Telemetry
    schedule: int = 0

    def cron(self, minutes: int, zone: str = "UTC") -> str:
        """A cron of once a day: so many minutes from now, less up to a minute, in this zone."""
        pattern = "FMMI FMHH24 * * *"
        now = "(now() + make_interval(mins => %s)) AT TIME ZONE %s"
        return str(self.direct.value(f"SELECT to_char({now}, %s)", minutes, zone, pattern))

    def told(self, cron: str | None, kind: str = "schedule", target: Any = None) -> None:
        """The Scheduler was told this cron."""
        self.direct.rows(
            "INSERT INTO scheduler_schedules (kind, target, remote_id, cron_definition, enabled)"
            " VALUES (%s, %s, gen_random_uuid(), %s, true)"
            " ON CONFLICT (kind, target) DO UPDATE SET cron_definition = excluded.cron_definition",
            *(kind, str(target or self.schedule), cron),
        )

    def age(self, minutes: float) -> None:
        """Everything that is recorded was recorded so much earlier."""
        self.direct.rows(
            "UPDATE scheduler_callbacks SET moment = moment - %(by)s, created_at = created_at"
            " - %(by)s".replace("%(by)s", f"interval '{minutes} minutes'")
        )

    async def call(self, schedule: int = 0, **options: Any) -> Answer:
        """The Scheduler calls for a schedule."""
        path = f"/api/v1/schedule/{schedule or self.schedule}/send/"
        return await self.api.post(path, {}, **{"token": SCHEDULER_TOKEN} | options)

    @property
    def ticks(self) -> int:
        return int(self.direct.value(TICKS))

    @property
    def counts(self) -> tuple[int, int]:
        """How many calls were joined, and how many fitted no moment."""
        return self.telemetry.counts[JOINED], self.telemetry.counts[UNMATCHED]


Open = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def another(database_uri: str, tmp_path: Path) -> Open:
    """What serves one more API over the same database, with this window, mode and zone."""

    def open_another(
        *,
        mode: Mode = "subscription",
        window: timedelta = HALF_AN_HOUR,
        zone: str = "UTC",
        telemetry: Telemetry | None = None,
    ) -> AbstractAsyncContextManager[Api]:
        scheduling = evolve(a_scheduling(mode), join_window=window, timezone=ZoneInfo(zone))
        return served(database_uri, tmp_path, scheduling=scheduling, telemetry=telemetry)

    return open_another


@pytest_twisted.async_yield_fixture
async def here(another: Open, direct: Arranged) -> AsyncIterator[Joining]:
    """One schedule, whose cron has a moment of some minutes ago."""
    telemetry = Telemetry()
    async with another(telemetry=telemetry) as api:
        here = Joining(api, direct, telemetry, direct.schedule(minute="0", hour="0"))
        here.told(here.cron(-5))
        yield here


# The first call is done, and others of its moment join it


@ensureDeferred
async def test_a_call_that_is_repeated_makes_one_tick_and_is_answered_alike(here: Joining) -> None:
    answers = [await here.call() for _ in range(3)]
    assert {(one.status, one.text) for one in answers} == {(202, "{}")}
    assert here.ticks == 1
    assert here.counts == (2, 0)
    (row,) = here.direct.rows(RECORDED)
    assert (row["kind"], row["target"]) == ("schedule", str(here.schedule))
    assert row["moment"].second == row["moment"].microsecond == 0


@pytest.mark.parametrize(("active", "status"), [(True, 201), (False, 200)])
@ensureDeferred
async def test_a_call_for_one_subscription_is_joined_likewise(
    here: Joining, active: bool, status: int
) -> None:
    made = await here.api.subscription(active=active)
    here.told(here.cron(-5), "subscription", made["id"])
    path = f"/api/v1/subscriptions/{made['id']}/send"
    spelt = f"/api/v1/subscriptions/{made['id'].replace('-', '').upper()}/send/"
    first, *others = [
        await here.api.post(one, token=SCHEDULER_TOKEN) for one in (path, path, spelt)
    ]
    assert (first.status, first.json["accepted"]) == (status, active)
    assert [(one.status, one.text) for one in others] == [(status, first.text)] * 2
    assert here.direct.value(TRIGGERS) == 1
    assert here.direct.value("SELECT count(*) FROM sends") == active
    assert len(here.direct.ledger()) == (not active)
    assert here.direct.unbalanced_ticks() == []
    assert here.counts == (2, 0)


@ensureDeferred
async def test_the_answer_is_the_first_one_even_if_everything_has_changed(here: Joining) -> None:
    made = await here.api.subscription()
    here.told(here.cron(-5), "subscription", made["id"])
    path = f"/api/v1/subscriptions/{made['id']}/"
    first = await here.api.post(f"{path}send", token=SCHEDULER_TOKEN)
    assert (await here.api.call("DELETE", path)).status == 204
    again = await here.api.post(f"{path}send", token=SCHEDULER_TOKEN)
    assert (again.status, again.text) == (first.status, first.text) == (201, '{"accepted":true}')


@ensureDeferred
async def test_the_next_moment_is_another_tick(here: Joining) -> None:
    await here.call()
    here.age(24 * 60)
    await here.call()
    await here.call()
    assert (here.ticks, here.counts) == (2, (1, 0))


@ensureDeferred
async def test_each_schedule_and_each_subscription_has_calls_of_its_own(here: Joining) -> None:
    other = here.direct.schedule()
    here.told(here.cron(-5), target=other)
    one, two = [await here.api.subscription(schedule=other) for _ in range(2)]
    for made in (one, two):
        here.told(here.cron(-5), "subscription", made["id"])
        path = f"/api/v1/subscriptions/{made['id']}/send"
        assert (await here.api.post(path, token=SCHEDULER_TOKEN)).status == 201
    for schedule in (here.schedule, other):
        await here.call(schedule)
    assert (here.ticks, here.direct.value(TRIGGERS), here.counts) == (2, 2, (0, 0))


@ensureDeferred
async def test_of_two_calls_at_once_to_two_daemons_the_second_waits_and_gets_the_first_answer(
    here: Joining, another: Open, database_uri: str
) -> None:
    def waiting() -> int:
        return int(
            here.direct.value(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )

    path = f"/api/v1/schedule/{here.schedule}/send"
    async with another() as other:
        with arranged(database_uri) as holder:
            holder.rows("BEGIN")
            holder.rows("SELECT id FROM schedules FOR UPDATE")
            calls = [
                Deferred.fromCoroutine(api.post(path, token=SCHEDULER_TOKEN))
                for api in (here.api, other, here.api)
            ]
            await comes_true(lambda: waiting() == 3)
            holder.rows("ROLLBACK")
        answers = await gatherResults(calls)
    assert {(one.status, one.text) for one in answers} == {(202, "{}")}
    assert here.ticks == 1


@ensureDeferred
async def test_of_a_call_that_was_refused_nothing_is_remembered(here: Joining) -> None:
    absent = here.schedule + 1
    here.told(here.cron(-5), target=absent)
    assert (await here.call(absent)).status == 404
    assert here.direct.rows(RECORDED) == []
    assert here.direct.schedule() == absent
    assert [(await here.call(absent)).status for _ in range(2)] == [202, 202]
    assert (here.ticks, here.counts) == (1, (1, 0))

    unknown = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
    for key in (unknown, "nonsense"):
        path = f"/api/v1/subscriptions/{key}/send"
        assert (await here.api.post(path, token=SCHEDULER_TOKEN)).status == 400
    assert len(here.direct.rows(RECORDED)) == 1


@ensureDeferred
async def test_a_call_whose_transaction_failed_is_done_when_it_comes_again(here: Joining) -> None:
    here.direct.rows("ALTER TABLE scheduler_callbacks ADD CONSTRAINT wrong CHECK (false)")
    assert (await here.call()).status == 500
    assert here.ticks == 0
    here.direct.rows("ALTER TABLE scheduler_callbacks DROP CONSTRAINT wrong")
    assert (await here.call()).status == 202
    assert (here.ticks, here.counts) == (1, (0, 0))


# Which moment


@pytest.mark.parametrize(
    ("minutes", "fits"), [(1, True), (0, True), (-28, True), (4, False), (-32, False), (600, False)]
)
@ensureDeferred
async def test_a_call_fits_a_moment_that_is_near(here: Joining, minutes: int, fits: bool) -> None:
    here.told(here.cron(minutes))
    await here.call()
    await here.call()
    assert (here.ticks, here.counts) == (1, (1, not fits))


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns"])
@ensureDeferred
async def test_the_cron_is_read_in_the_zone_of_the_scheduler(
    here: Joining, another: Open, zone: str
) -> None:
    here.told(here.cron(-5, zone))
    telemetry = Telemetry()
    async with another(zone=zone, telemetry=telemetry) as api:
        await evolve(here, api=api).call()
    assert telemetry.counts[UNMATCHED] == 0
    (row,) = here.direct.rows(RECORDED)
    assert row["moment"] != row["created_at"]


@ensureDeferred
async def test_the_cron_that_was_told_counts_and_not_what_it_would_be_told_now(
    here: Joining,
) -> None:
    minute, hour, *_ = here.cron(-5).split()
    here.direct.rows("UPDATE schedules SET minute = %s, hour = %s", minute, hour)
    here.told(here.cron(600))
    await here.call()
    assert here.counts == (0, 1)


@pytest.mark.parametrize("is_known", [True, False])
@ensureDeferred
async def test_where_nothing_is_remembered_it_is_what_the_scheduler_would_be_told_now(
    here: Joining, is_known: bool
) -> None:
    minute, hour, *_ = here.cron(-5).split()
    # With blanks, as they are found in the field; the Scheduler is told none.
    here.direct.rows("UPDATE schedules SET minute = %s, hour = %s", f" {minute}", f"{hour} ")
    made = await here.api.subscription(schedule=here.schedule)
    if is_known:
        here.told(None)
        here.told(None, "subscription", made["id"])
    else:
        here.direct.rows("DELETE FROM scheduler_schedules")
    await here.call()
    path = f"/api/v1/subscriptions/{made['id']}/send"
    assert (await here.api.post(path, token=SCHEDULER_TOKEN)).status == 201
    assert here.counts == (0, 0)


@ensureDeferred
async def test_a_call_is_joined_for_the_limit_and_not_longer(here: Joining, another: Open) -> None:
    telemetry = Telemetry()
    async with another(window=timedelta(minutes=3), telemetry=telemetry) as api:
        short = evolve(here, api=api, telemetry=telemetry)
        await short.call()
        assert short.counts == (0, 1)
        short.age(3.01)
        await short.call()
        assert (short.ticks, short.counts) == (2, (0, 2))


# Calls that fit none


@pytest.mark.parametrize("cron", ["in ten hours", "garbage", "0 8 31 4 *", "0 8 * * MON"])
@ensureDeferred
async def test_a_call_that_fits_no_moment_joins_the_last_one_for_half_an_hour(
    here: Joining, cron: str
) -> None:
    here.told(here.cron(600) if cron == "in ten hours" else cron)
    await here.call()
    await here.call()
    assert (here.ticks, here.counts) == (1, (1, 1))
    here.age(20)
    await here.call()
    assert (here.ticks, here.counts) == (1, (2, 1))
    here.age(10.1)  # since the one that was done; joining it has not made it younger
    await here.call()
    assert (here.ticks, here.counts) == (2, (2, 2))


@ensureDeferred
async def test_after_a_change_of_the_cron_a_call_of_the_old_one_is_still_joined(
    here: Joining,
) -> None:
    here.told(here.cron(0))
    await here.call()
    for minutes in (600, -15):
        here.told(here.cron(minutes))
        await here.call()
    assert (here.ticks, here.counts) == (1, (2, 0))
    here.age(10)
    await here.call()
    assert (here.ticks, here.counts) == (1, (3, 0))
    here.age(21)
    await here.call()
    assert (here.ticks, here.counts) == (2, (3, 0))


@ensureDeferred
async def test_a_call_that_fits_none_is_logged_with_both_crons_but_not_each(here: Joining) -> None:
    cron = here.cron(600)
    here.told(cron)
    others = [here.direct.schedule() for _ in range(2)]
    for other in others:
        here.told(cron, target=other)
    with capturedLogs() as logged:
        for schedule in (here.schedule, *others, here.schedule):
            assert (await here.call(schedule)).status == 202
    (line,) = [
        formatEvent(one) for one in logged if "its cron is not due then" in (formatEvent(one) or "")
    ]
    assert line is not None
    assert f"called for schedule {here.schedule} at 2" in line
    assert "in UTC" in line
    assert f"Told: {cron}; wanted now: 0 0 * * *." in line
    assert here.counts == (1, 3)


@ensureDeferred
async def test_how_many_were_not_logged_is_told_with_the_next() -> None:
    clock = Clock()
    callbacks = SchedulerCallbacks(reactor=clock, scheduling=a_scheduling(), telemetry=Telemetry())
    crons = Crons(told=None, wanted=None, now=datetime.now(timezone.utc))
    answered = CallbackAnswer(
        reply=Reply(), target=Target(kind="schedule", id=1), is_joined=False, unmatched=crons
    )
    with capturedLogs() as logged:
        for seconds in (0, 1, LOG_SECONDS - 2, 1):
            clock.advance(seconds)
            callbacks.committed(answered)
    lines = [formatEvent(one) or "" for one in logged]
    assert [line.partition("wanted now: none. ")[2] for line in lines] == [
        "0 other such calls were not logged.",
        "2 other such calls were not logged.",
    ]


# Who is not joined


@ensureDeferred
async def test_a_users_call_makes_a_tick_each_time(here: Joining) -> None:
    for token in (here.api.token, here.api.user_token) * 2:
        assert (await here.call(token=token)).status == 202
    made = await here.api.subscription()
    here.told(here.cron(-5), "subscription", made["id"])
    for _ in range(2):
        await here.api.post(f"/api/v1/subscriptions/{made['id']}/send")
    assert (here.ticks, here.direct.value(TRIGGERS), here.counts) == (4, 2, (0, 0))
    assert here.direct.rows(RECORDED) == []
    # Nor does the Scheduler join one of them.
    await here.call()
    assert here.ticks == 5


@ensureDeferred
async def test_joining_can_be_turned_off(here: Joining, another: Open) -> None:
    await here.call()
    telemetry = Telemetry()
    async with another(window=timedelta(0), telemetry=telemetry) as api:
        off = evolve(here, api=api, telemetry=telemetry)
        off.told("garbage")
        await off.call()
        await off.call()
    assert (off.ticks, off.counts) == (3, (0, 0))
    assert len(here.direct.rows(RECORDED)) == 1


@ensureDeferred
async def test_a_key_of_the_scheduler_counts_first_and_does_not_make_a_call_a_new_one(
    here: Joining,
) -> None:
    first = await here.call(Idempotency_Key="1")
    replayed = await here.call(Idempotency_Key="1")
    joined = [await here.call(Idempotency_Key="2"), await here.call()]
    assert {(one.status, one.text) for one in (first, replayed, *joined)} == {(202, "{}")}
    assert (here.ticks, here.counts) == (1, (2, 0))


@ensureDeferred
async def test_a_call_that_should_not_be_made_is_not_recorded(here: Joining, another: Open) -> None:
    made = await here.api.subscription()
    path = f"/api/v1/subscriptions/{made['id']}/send"
    async with another(mode="builtin") as api:
        builtin = evolve(here, api=api)
        for _ in range(2):
            assert (await builtin.call()).status == 202
            answer = await api.post(path, token=SCHEDULER_TOKEN)
            assert (answer.status, answer.json["accepted"]) == (200, False)
        assert (here.ticks, here.direct.rows(RECORDED)) == (0, [])
        # One of which nothing is known is done, and joined.
        here.direct.rows("DELETE FROM scheduler_schedules")
        await builtin.call()
        await builtin.call()
    assert here.ticks == 1


@ensureDeferred
async def test_a_call_that_was_done_does_not_hide_that_the_scheduler_was_told_to_stop(
    here: Joining,
) -> None:
    await here.call()
    here.direct.rows("UPDATE scheduler_schedules SET enabled = false")
    assert (await here.call()).status == 202
    assert here.direct.value("SELECT count(*) FROM scheduler_calls WHERE kind = 'schedule'") == 1
    assert (here.ticks, here.counts) == (1, (0, 0))


# A clock that was wrong


@ensureDeferred
async def test_a_call_that_was_recorded_as_later_than_now_is_not_believed(here: Joining) -> None:
    await here.call()
    for statement in (
        "UPDATE scheduler_callbacks SET created_at = now() + interval '10 minutes'",
        "UPDATE scheduler_callbacks SET created_at = now() - interval '2 days'",
    ):
        here.direct.rows(statement)
        before = here.ticks
        await here.call()
        await here.call()
        assert here.ticks == before + 1
    here.told(here.cron(600))
    here.direct.rows("UPDATE scheduler_callbacks SET created_at = now() + interval '1 day'")
    before = here.ticks
    await here.call()
    assert here.ticks == before + 1


@pytest.fixture
def wrong_clock(direct: Arranged) -> WrongClock:
    """The database's, right at first."""
    return WrongClock(direct)


JUMPS = pytest.mark.parametrize("by", [40.0, -40.0, 7200.0, -7200.0, 86_400.0, -3 * 86_400.0])


async def jump(
    wrong_clock: WrongClock, database: Database, clock: DatabaseClock, by: float
) -> None:
    """The clock is set, and a daemon records that it was."""
    wrong_clock.set(by)
    for _ in range(2):
        await clock.transact(database, _nothing)


async def _nothing(_transaction: Transaction, _reading: ClockReading) -> None:
    pass


@JUMPS
@pytest.mark.parametrize("returns", [True, False])
@ensureDeferred
async def test_a_call_is_joined_across_a_jump_of_the_clock(
    wrong_clock: WrongClock, here: Joining, database: Database, by: float, returns: bool
) -> None:
    """Whether the clock was wrong at the call and is right again, or is wrong from then on."""
    cron = here.cron(-5)
    clock = DatabaseClock(machine=None)
    await clock.begin(database)
    if returns:
        await jump(wrong_clock, database, clock, by)
    first = await here.call()
    await jump(wrong_clock, database, clock, 0 if returns else by)
    housekeeping = CallbackHousekeeping(database=database, kept=HALF_AN_HOUR)
    await housekeeping.one_pass()
    assert here.direct.value("SELECT cron_definition FROM scheduler_schedules") == cron
    for _ in range(2):
        again = await here.call()
        assert (again.status, again.text) == (first.status, first.text)
    assert here.ticks == 1
    # By the right clock, it is of another day.
    here.direct.rows(
        "UPDATE scheduler_callbacks SET moment = moment - interval '1 day', created_at = created_at"
        " - interval '1 day', received_at = received_at - interval '1 day'"
    )
    await here.call()
    assert here.ticks == 2


@ensureDeferred
async def test_the_call_of_a_wrong_clock_does_not_stand_in_for_the_moment_that_it_told(
    wrong_clock: WrongClock, here: Joining, database: Database
) -> None:
    # Every ten minutes, the last time less than a minute ago: no call is half-way between two.
    minute = int(here.direct.value("SELECT EXTRACT(minute FROM now() AT TIME ZONE 'UTC')::int"))
    here.told(f"{','.join(str(one) for one in range(minute % 10, 60, 10))} * * * *")
    clock = DatabaseClock(machine=None)
    await clock.begin(database)
    await jump(wrong_clock, database, clock, 600.0)
    await here.call()
    await jump(wrong_clock, database, clock, 0)
    (told,) = here.direct.rows(RECORDED)
    # Ten minutes later, with the call still young.
    here.direct.rows("UPDATE scheduler_callbacks SET received_at = received_at - interval '10 min'")
    await here.call()
    assert here.ticks == 2
    (row,) = here.direct.rows(f"{RECORDED} DESC LIMIT 1")
    assert row["moment"] <= told["moment"]


@ensureDeferred
async def test_one_that_began_a_little_later_and_was_done_first_is_joined(here: Joining) -> None:
    here.told(here.cron(600))
    await here.call()
    here.direct.rows("UPDATE scheduler_callbacks SET created_at = now() + interval '3 seconds'")
    await here.call()
    assert here.ticks == 1


@ensureDeferred
async def test_counts_are_shown_from_the_start(here: Joining) -> None:
    before = (await here.api.get("/metrics", token="")).text
    assert "\nsbm_scheduler_callbacks_joined_total 0.0\n" in before
    assert "\nsbm_scheduler_callbacks_unmatched_total 0.0\n" in before
    here.told(here.cron(600))
    for _ in range(3):
        await here.call()
    after = (await here.api.get("/metrics", token="")).text
    assert "\nsbm_scheduler_callbacks_joined_total 2.0\n" in after
    assert "\nsbm_scheduler_callbacks_unmatched_total 1.0\n" in after
