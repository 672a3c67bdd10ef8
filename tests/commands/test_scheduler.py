"""``sbm scheduler``, as an operator runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from tests.arrange import Arranged
from tests.commands.operator import COMMAND, Sbm, process_environ
from tests.patience import patience
from tests.pipeline.scheduler.test_outbox import Outbox, payload
from tests.pipeline.scheduler.test_outbox import here as here

Run = Callable[..., Awaitable[tuple[int, list[str], str]]]


def settings(here: Outbox) -> dict[str, str]:
    """The daemon's settings, which the command reads as well."""
    return {
        "STAGE_BASED_MESSAGING_URL": "http://sbm",
        "SCHEDULER_URL": here.url,
        "SCHEDULER_API_TOKEN": "t",
        "SCHEDULER_INBOUND_API_TOKEN": "inbound",
    }


@pytest.fixture
def run(sbm: Sbm, here: Outbox) -> Run:
    """Run ``sbm scheduler …``, with these settings; returns status, output and stderr."""

    async def run(*arguments: str, **changed: str) -> tuple[int, list[str], str]:
        outcome = await sbm("scheduler", *arguments, **settings(here) | changed)
        return outcome.status, outcome.out.splitlines(), outcome.stderr

    return run


@ensureDeferred
async def test_the_differences_are_shown_and_then_owed(here: Outbox, run: Run) -> None:
    subscription = here.subscribe()
    await here.announce("subscription")
    summary = "1 to create, 0 to recreate, 0 to update, 0 to enable, 0 to disable"
    assert await run("sync", "--dry-run") == (
        0,
        [f"create subscription {subscription}", f"{summary}; nothing was changed"],
        "",
    )
    assert here.scheduler_calls() == []
    status, said, _ = await run("sync", "--by", "Thandi", "--reason", "first time")
    assert (status, said) == (0, [f"{summary}: the daemons make these calls"])
    assert (await run("status"))[1][0] == "scheduling by subscription; 1 calls owed; 0 refused"
    await here.do_all(here.doing())
    assert here.door.changes == [("POST", payload(subscription))]
    assert (await run("sync"))[1] == ["the Scheduler has stored what it should have"]
    first, second = here.direct.rows("SELECT * FROM audit WHERE operation IS NULL ORDER BY id")
    assert (first["actor"], first["reason"]) == ("Thandi", "first time")
    assert first["details"] == {"mode": "subscription", "create": 1}
    assert second["details"] == {"mode": "subscription"}


@ensureDeferred
async def test_a_setting_that_the_daemons_do_not_have_is_refused(here: Outbox, run: Run) -> None:
    here.subscribe()
    await here.announce("schedule")
    status, said, stderr = await run("sync")
    assert (status, said) == (1, [])
    assert "SBM_SCHEDULING is subscription here" in stderr
    status, said, stderr = await run("sync", SCHEDULER_URL="", SBM_SCHEDULING="")
    assert (status, said) == (1, [])
    assert "SCHEDULER_URL is not set" in stderr
    status, said, stderr = await run("sync", SCHEDULER_API_TOKEN="")
    assert (status, said) == (2, [])
    assert "SCHEDULER_API_TOKEN is missing" in stderr
    status, said, stderr = await run("sync", SCHEDULER_INBOUND_API_TOKEN="")
    assert (status, said) == (1, [])
    assert "could not call back" in stderr
    assert here.scheduler_calls() == []


@ensureDeferred
async def test_what_was_refused_is_shown(here: Outbox, run: Run, direct: Arranged) -> None:
    await here.announce("subscription")
    subscription = here.subscribe()
    direct.rows("UPDATE scheduler_calls SET faults = 2, fault = 'oh', reason = 'still looked for'")
    status, said, _ = await run("status")
    assert status == 0
    about = ["subscription", str(subscription), str(here.schedule), "30", "8", "*", "*", "*"]
    assert said[-1].split() == [*about, "failed", "2", "times", "oh"]
    direct.rows(
        "INSERT INTO scheduler_calls (kind, target, state, reason)"
        " VALUES ('schedule', '7', 'refused', 'no')"
    )
    status, said, _ = await run("status")
    assert status == 1
    assert said[0] == "scheduling by subscription; 1 calls owed; 1 refused"
    assert [line.split() for line in said[-2:]] == [
        ["schedule", "7", "7", "-", "refused", "no"],
        [*about, "failed", "2", "times", "oh"],
    ]


@ensureDeferred
async def test_a_scheduler_that_is_away_is_told_of(here: Outbox, run: Run) -> None:
    await here.announce("subscription")
    status, said, stderr = await run("sync", SCHEDULER_URL="http://127.0.0.1:1")
    assert (status, said) == (1, [])
    assert "refused" in stderr.lower()


@ensureDeferred
async def test_whoever_has_seen_enough_leaves_nothing_behind(
    here: Outbox, database_uri: str
) -> None:
    here.door.model.create(**payload(here.subscribe()), enabled=False)
    await here.announce("subscription")
    reading, writing = os.pipe()
    os.close(reading)
    done = await deferToThread(
        subprocess.run,
        [*COMMAND, "scheduler", "sync", "--dry-run"],
        check=False,
        timeout=patience(),
        env=process_environ(database_uri) | settings(here) | {"PYTHONUNBUFFERED": "1"},
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert here.direct.rows("SELECT * FROM scheduler_listing") == []
