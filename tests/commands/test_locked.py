"""Commands for many subscriptions, while another session has locked one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from uuid import UUID

import psycopg2
import pytest
from pytest_twisted import ensureDeferred

from sbm.model.signature import Signature
from sbm.operations import requeue
from sbm.pipeline.tasks import requests as module
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import RowLocked
from tests.arrange import Arranged
from tests.commands.operator import Sbm
from tests.pipeline.tasks.test_requests import asked, worker

ANN = Signature(actor="ann")


@contextmanager
def locked(database_uri: str, subscription: UUID) -> Iterator[None]:
    holder = psycopg2.connect(database_uri)
    with closing(holder), holder.cursor() as cursor:
        cursor.execute("SELECT FROM subscriptions WHERE id = %s FOR UPDATE", (str(subscription),))
        try:
            yield
        finally:
            holder.rollback()  # closing it frees the rows a little later


def four(direct: Arranged) -> list[UUID]:
    schedule = direct.schedule(minute="0", hour="8")
    messageset = direct.messageset("pregnancy", schedule, messages=9)
    return sorted(direct.subscriptions(4, messageset, schedule))


@ensureDeferred
async def test_of_those_in_error_the_others_are_reset(
    sbm: Sbm, direct: Arranged, database_uri: str
) -> None:
    kept, *_ = four(direct)
    direct.rows("UPDATE subscriptions SET process_status = -1")
    with locked(database_uri, kept):
        outcome = await sbm("subscription", "reset-stuck", "--all")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.out.splitlines() == [
        "3 reset",
        "1 not reset: they were changed meanwhile, or they are locked",
    ]
    stuck = direct.rows("SELECT id FROM subscriptions WHERE process_status = -1")
    assert [row["id"] for row in stuck] == [kept]
    assert (await sbm("subscription", "reset-stuck", "--all")).out == "1 reset\n"


@ensureDeferred
async def test_the_others_are_given_their_prepend(
    sbm: Sbm, direct: Arranged, database_uri: str
) -> None:
    kept, *_ = four(direct)
    with locked(database_uri, kept):
        outcome = await sbm("subscription", "add-prepend", "Hi", "--all")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.out.splitlines() == [
        "3 given the prepend",
        "1 are locked: not changed",
    ]
    assert direct.subscription(kept)["metadata"] is None
    assert "1 given the prepend" in (await sbm("subscription", "add-prepend", "Hi", "--all")).out


@ensureDeferred
async def test_the_others_lose_their_duplicates(
    sbm: Sbm, direct: Arranged, database_uri: str
) -> None:
    kept, *_ = four(direct)
    direct.rows(
        "INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)"
        " SELECT identity, messageset_id, schedule_id, lang FROM subscriptions"
    )
    with locked(database_uri, kept):
        outcome = await sbm("subscription", "remove-duplicates", "--all")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.out.splitlines() == [
        "3 removed",
        "subscriptions of 1 identities are locked: not changed",
    ]
    assert (await sbm("subscription", "remove-duplicates", "--all")).out == "1 removed\n"


@pytest.mark.parametrize(
    ("command", "done"), [("fast-forward", "3 moved"), ("send", "3 owed a message")]
)
@ensureDeferred
async def test_the_others_that_are_behind_are_helped(
    sbm: Sbm,
    direct: Arranged,
    database_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    done: str,
) -> None:
    monkeypatch.setenv("SBM_TIMEZONE", "UTC")
    kept, *_ = four(direct)
    began = datetime.now(timezone.utc) - timedelta(days=4)
    direct.rows("UPDATE subscriptions SET created_at = %s", began)
    with locked(database_uri, kept):
        outcome = await sbm("behind", command)
    assert (outcome.status, outcome.stderr) == (0, "")
    first, *_, last = outcome.out.splitlines()
    assert first.startswith(done)
    assert last == "1 skipped: it was changed meanwhile, or it was locked"


@ensureDeferred
async def test_the_other_failed_tasks_are_requeued_and_those_left_are_told(
    database: Database, direct: Arranged, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCKED_SECONDS", 0.01)
    kept, *others = four(direct)
    failures = direct.failures([kept, *others])
    doing, _ = worker(database)
    with locked(database_uri, kept):
        await asked(database, "requeue-failed-tasks", up_to=failures[-1])
        assert await doing.one_pass() == 1
    assert [row["id"] for row in direct.rows("SELECT id FROM failed_tasks")] == failures[:1]
    assert direct.value("SELECT count(*) FROM sends") == len(others)
    (task,) = direct.rows("SELECT state, reason FROM tasks")
    assert task == {
        "state": "failed",
        "reason": "1 failed tasks are left: another transaction has locked their subscriptions",
    }
    await asked(database, "requeue-failed-tasks", up_to=failures[-1])
    await doing.one_pass()
    assert direct.value("SELECT count(*) FROM sends") == 4
    assert direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_is_locked_for_a_moment_is_requeued_after_all(
    database: Database, direct: Arranged, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, *others = four(direct)
    failures = direct.failures([kept, *others])
    doing, _ = worker(database)
    lock = locked(database_uri, kept)
    lock.__enter__()

    async def let_go(*_: object) -> None:
        lock.__exit__(None, None, None)

    monkeypatch.setattr(module, "deferLater", let_go)
    await asked(database, "requeue-failed-tasks", up_to=failures[-1])
    await doing.one_pass()
    assert direct.value("SELECT state FROM tasks") == "done"
    assert direct.value("SELECT count(*) FROM sends") == 4


@ensureDeferred
async def test_one_that_is_requeued_alone_waits_for_its_subscription(
    database: Database, direct: Arranged, database_uri: str
) -> None:
    kept, *_ = four(direct)
    (failure,) = direct.failures([kept])
    with locked(database_uri, kept), pytest.raises(RowLocked):
        await database.transact(requeue.requeue_one, failed_task_id=failure, signature=ANN)
    trigger = await database.transact(requeue.requeue_one, failed_task_id=failure, signature=ANN)
    assert trigger.accepted
