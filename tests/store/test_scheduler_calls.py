"""Calls of what changes in the very moment when somebody looks at it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg2.extensions import AsIs
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.scheduler_call import CallRefused, NothingToDo, SchedulerCall
from sbm.store import scheduler_calls
from sbm.store.postgres.database import Database
from tests.arrange import arranged
from tests.e2e.end_to_end import pause
from tests.pipeline.scheduler.test_outbox import Outbox, payload
from tests.pipeline.scheduler.test_outbox import here as here

MINUTE = timedelta(seconds=60)


async def claim(database: Database, *, window: Any = 10, limit: int = 10) -> list[SchedulerCall]:
    found = await database.transact(
        scheduler_calls.claim, limit=limit, window=window, lease=MINUTE, settle=MINUTE
    )
    return found.claimed


async def somebody_waits(here: Outbox) -> None:
    """Return when a statement waits for a lock that another session has."""
    while not here.direct.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ):
        await pause(0.01)


@ensureDeferred
async def test_a_change_between_what_a_claim_reads_and_what_it_locks_is_still_owed(
    here: Outbox,
) -> None:
    await here.announce("subscription")
    here.subscribe()
    database = here.database("subscription")
    # The limit is worked out when all is read as of now, and no call is locked yet.
    limit: Any = AsIs("(SELECT 10 FROM (SELECT pg_advisory_xact_lock(7)) AS waited)")
    here.direct.rows("SELECT pg_advisory_lock(7)")
    claiming = Deferred.fromCoroutine(claim(database, window=limit))
    await somebody_waits(here)
    here.direct.rows("UPDATE subscriptions SET active = false")
    here.direct.rows("SELECT pg_advisory_unlock(7)")
    (claimed,) = await claiming
    assert claimed.wanted is not None
    await database.transact(scheduler_calls.settle, call=claimed, result=NothingToDo())
    (claimed,) = await claim(database)
    assert claimed.wanted is None


@ensureDeferred
async def test_a_scheduler_call_that_another_daemon_goes_on_with_is_not_claimed_as_it_was(
    here: Outbox,
) -> None:
    """What was read of it says that a schedule is looked for, which was found by now."""
    await here.announce("subscription")
    subscription = here.subscribe()
    made = here.door.model.create(**payload(subscription))
    here.direct.rows("UPDATE scheduler_calls SET unknown_since = now()")
    database, doing = here.database("subscription"), here.doing()
    limit: Any = AsIs("(SELECT 10 FROM (SELECT pg_advisory_xact_lock(7)) AS waited)")
    here.direct.rows("SELECT pg_advisory_lock(7)")
    claiming = Deferred.fromCoroutine(claim(database, window=limit))
    await somebody_waits(here)
    await doing.one_pass()
    assert here.remote_id(subscription) == made.id
    here.direct.rows("SELECT pg_advisory_unlock(7)")
    assert await claiming == []
    (claimed,) = await claim(database)
    assert claimed.step == "change"


@ensureDeferred
async def test_members_that_were_looked_at_while_their_schedule_changed_are_looked_at_anew(
    here: Outbox, database_uri: str
) -> None:
    await here.announce("subscription")
    doing = here.doing()
    here.subscribe()
    await here.do_all(doing)
    database = here.database("subscription")
    await database.transact(scheduler_calls.owe, kind="members", target=str(here.schedule))
    (call,) = await claim(database)
    with arranged(database_uri) as other:
        other.rows("BEGIN")
        other.rows("UPDATE schedules SET hour = '9'")
        looking = Deferred.fromCoroutine(
            database.transact(scheduler_calls.look_at_members, call=call, limit=1000, lease=MINUTE)
        )
        await somebody_waits(here)
        other.rows("COMMIT")
    await looking
    await here.do_all(doing)
    assert {one.cron_definition for one in here.door.model.enabled()} == {"30 9 * * *"}


@ensureDeferred
async def test_what_is_refused_while_it_changes_is_owed_again(here: Outbox) -> None:
    await here.announce("subscription")
    here.subscribe()
    database = here.database("subscription")
    (claimed,) = await claim(database)
    here.direct.rows("UPDATE subscriptions SET active = false")
    await database.transact(
        scheduler_calls.settle, call=claimed, result=CallRefused(reason="no such cron")
    )
    assert [call["state"] for call in here.scheduler_calls()] == ["owed"]
