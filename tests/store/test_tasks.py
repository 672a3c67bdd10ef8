from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

from pytest_twisted import ensureDeferred

from sbm.model.failed_task import EVERYTHING, MAX_IDENTITY, MAX_REASON, FailedTaskFilter
from sbm.model.task import Task, TaskKind
from sbm.store import tasks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

LEASE = timedelta(seconds=60)
ESTIMATE: TaskKind = "estimate-sends"
REQUEUE: TaskKind = "requeue-failed-tasks"
MOMENT = datetime(2026, 1, 3, 10, 0, 0, 123456, tzinfo=timezone.utc)


async def request(
    database: Database,
    kind: TaskKind = ESTIMATE,
    up_to: int | None = None,
    wanted: FailedTaskFilter = EVERYTHING,
) -> UUID:
    return await database.transact(
        tasks.request, kind=kind, requested_by=None, up_to=up_to, wanted=wanted
    )


async def begin(database: Database, owner: UUID) -> Task | None:
    kinds: list[TaskKind] = [ESTIMATE, REQUEUE]
    return await database.transact(tasks.begin, owner=owner, kinds=kinds, lease=LEASE)


@ensureDeferred
async def test_who_asks_while_a_task_waits_is_answered_with_that_one(database: Database) -> None:
    first = await request(database, REQUEUE, 5)
    assert await request(database, REQUEUE, 9) == first
    assert await request(database, REQUEUE, 7) == first
    assert await begin(database, uuid4()) == Task(id=first, kind=REQUEUE, up_to=9)


@ensureDeferred
async def test_only_who_means_the_same_failures_joins_a_requeue_that_waits(
    database: Database,
) -> None:
    wanted = FailedTaskFilter(kind="resend", reason_contains="channel", initiated_after=MOMENT)
    everything = await request(database, REQUEUE, 5)
    some = await request(database, REQUEUE, 6, wanted)
    assert some != everything
    assert await request(database, REQUEUE, 8, wanted) == some
    assert await request(database, REQUEUE, 7) == everything
    owner = uuid4()
    first = Task(id=everything, kind=REQUEUE, up_to=7)
    assert await begin(database, owner) == first
    assert await begin(database, owner) is None
    await database.transact(tasks.finish, task_id=everything, owner=owner)
    second = Task(id=some, kind=REQUEUE, up_to=8, wanted=wanted)
    assert await begin(database, owner) == second


@ensureDeferred
async def test_of_two_that_begin_at_the_same_time_one_begins(
    database: Database, direct: Arranged
) -> None:
    """The other does not take the one behind it."""
    first = await request(database, REQUEUE, 5)
    await request(database, REQUEUE, 6, FailedTaskFilter(kind="resend"))
    direct.rows("BEGIN")
    direct.rows("SELECT FROM tasks WHERE id = %s FOR UPDATE", first)
    assert await begin(database, uuid4()) is None
    direct.rows("COMMIT")
    begun = await begin(database, uuid4())
    assert begun is not None
    assert begun.id == first


@ensureDeferred
async def test_the_longest_filter_there_can_be_is_kept(database: Database) -> None:
    """It is in an index, which takes only so much."""
    characters = [chr(0x10000 + number) for number in range(MAX_REASON)]
    wanted = FailedTaskFilter(
        kind="resend",
        stage="content",
        subscription_id=uuid4(),
        identity="".join(characters[:MAX_IDENTITY]),
        reason_contains="".join(characters),
        initiated_after=MOMENT,
        initiated_before=MOMENT,
    )
    await request(database, REQUEUE, 5, wanted)
    begun = await begin(database, uuid4())
    assert begun is not None
    assert begun.wanted == wanted


@ensureDeferred
async def test_of_each_kind_one_is_under_way_at_a_time(database: Database) -> None:
    owner = uuid4()
    first = await request(database)
    assert await begin(database, owner) == Task(id=first, kind=ESTIMATE)
    second = await request(database)
    assert second != first
    assert await begin(database, uuid4()) is None
    await database.transact(tasks.finish, task_id=first, owner=owner)
    assert await begin(database, uuid4()) == Task(id=second, kind=ESTIMATE)


@ensureDeferred
async def test_a_kind_that_is_not_asked_for_waits(database: Database) -> None:
    await request(database, "sync-audio-files")
    assert await begin(database, uuid4()) is None


@ensureDeferred
async def test_a_task_whose_owner_fell_silent_is_begun_anew(
    database: Database, direct: Arranged
) -> None:
    silent, other = uuid4(), uuid4()
    task_id = await request(database)
    await begin(database, silent)
    assert await database.transact(tasks.renew, task_id=task_id, owner=silent, lease=LEASE)
    direct.rows("UPDATE tasks SET lease_until = now() - interval '1 second'")
    assert await begin(database, other) == Task(id=task_id, kind=ESTIMATE)
    assert not await database.transact(tasks.renew, task_id=task_id, owner=silent, lease=LEASE)
    await database.transact(tasks.finish, task_id=task_id, owner=silent)
    assert direct.value("SELECT state FROM tasks") == "begun"


@ensureDeferred
async def test_a_released_task_is_begun_anew_at_once(database: Database) -> None:
    owner = uuid4()
    task_id = await request(database)
    await begin(database, owner)
    await database.transact(tasks.release, task_id=task_id, owner=owner)
    assert await begin(database, uuid4()) == Task(id=task_id, kind=ESTIMATE)


@ensureDeferred
async def test_how_a_task_ended_is_kept_for_a_while(database: Database, direct: Arranged) -> None:
    owner = uuid4()
    old = await request(database)
    await begin(database, owner)
    await database.transact(tasks.finish, task_id=old, owner=owner, reason="it broke")
    (row,) = direct.rows("SELECT state, reason, finished_at FROM tasks")
    assert (row["state"], row["reason"]) == ("failed", "it broke")
    direct.rows("UPDATE tasks SET finished_at = now() - interval '91 days'")
    new = await request(database)
    await begin(database, owner)
    await database.transact(tasks.finish, task_id=new, owner=owner)
    (row,) = direct.rows("SELECT id, state FROM tasks")
    assert (row["id"], row["state"]) == (new, "done")
