"""A dump is restored, or a failover loses commits, and nobody gets a message twice."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from sbm.sandbox.postgres import EmbeddedPostgres
from tests.arrange import arranged
from tests.commands.operator import Outcome, run_here
from tests.db.databases import Databases
from tests.e2e.end_to_end import World

# Short, so that what is proven to be absent is sent within the test.
TIMES = {
    "DEFAULT_REQUEST_TIMEOUT": "4",
    "SBM_LEASE_SECONDS": "6",
    "SBM_SETTLE_SECONDS": "5",
}
CLOCK = {"SCHEDULER_URL": "", "SBM_SCHEDULING": "builtin"}


@pytest.fixture
def programs() -> Path:
    """The folder of pg_dump and pg_restore."""
    return EmbeddedPostgres(folder=Path("/nowhere")).bin_dir


class Backups:
    """Dumps of a world's database, and databases that are restored from them."""

    def __init__(self, world: World, databases: Databases, programs: Path, folder: Path) -> None:
        self.world = world
        self._databases = databases
        self._programs = programs
        self._folder = folder
        self._connections = ExitStack()

    def dump(self) -> Path:
        """A dump of the database as it is now, while the daemons work."""
        path = self._folder / f"{uuid4().hex}.dump"
        self._run("pg_dump", "--format=custom", f"--file={path}", self.world.database_uri)
        return path

    def restore(self, dump: Path) -> None:
        """Let the world's daemons use a new database with the content of a dump."""
        uri = self._databases.create(f"sbm_restored_{uuid4().hex[:12]}")
        self._run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={uri}", str(dump))
        self.world.direct = self._connections.enter_context(arranged(uri))
        self.world.database_uri = uri

    def restore_in_place(self, dump: Path) -> None:
        """Drop the database that the daemons use, and restore it from a dump under its name."""
        uri = self.world.database_uri
        name = urlsplit(uri).path.removeprefix("/")
        self._databases.drop(name)
        self._databases.create(name)
        self._run("pg_restore", "--no-owner", "--single-transaction", f"--dbname={uri}", str(dump))
        self.world.direct = self._connections.enter_context(arranged(uri))

    def close(self) -> None:
        self._connections.close()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([str(self._programs / program), *arguments], check=True)


@pytest_twisted.async_yield_fixture
async def backups(
    seed: World, databases: Databases, programs: Path, tmp_path: Path
) -> AsyncIterator[Backups]:
    made = Backups(seed, databases, programs, tmp_path)
    yield made
    made.close()


async def sbm(seed: World, *arguments: str) -> Outcome:
    """A command of an operator, with the settings of the daemons."""
    environ: dict[str, Any] = seed.environ()
    outcome = await run_here(*arguments, database_uri=seed.database_uri, **environ)
    assert outcome.status == 0, outcome
    return outcome


async def stop_daemons(seed: World) -> None:
    while seed.daemons:
        daemon, _ = seed.daemons.pop()
        stopped: Any = daemon.stopService()
        await stopped


async def pause_of(seed: World) -> dict[str, Any]:
    status, body = await seed.call("GET", "/api/health/")
    while status == 503:  # a busy machine does not answer the daemon in time
        status, body = await seed.call("GET", "/api/health/")
    assert status == 200
    pause: dict[str, Any] = body["result"]["pause"]
    return pause


async def paused(seed: World, wanted: str) -> None:
    """Return when the daemon is paused for a reason that contains these words."""
    pause: dict[str, Any] = {}

    async def look() -> None:
        nonlocal pause
        pause = await pause_of(seed)

    while wanted not in pause.get("reason", ""):
        await look()
        assert pause["is_paused"], pause
    assert pause["is_paused"]


async def working(seed: World) -> None:
    """Return when the daemon works; fail when an operator would have to resume."""
    while (pause := await pause_of(seed))["is_paused"]:
        assert "sbm resume" not in pause["reason"], pause


async def resume(seed: World) -> str:
    """Resume; returns when the daemon works, if there is one, with what the command said."""
    outcome = await sbm(seed, "resume")
    while seed.daemons and (await pause_of(seed))["is_paused"]:
        pass
    return outcome.out


def times_received(seed: World) -> set[tuple[str, int]]:
    """How often somebody received each message: each pair of message and number once."""
    return {
        (message, times)
        for messages in seed.received().values()
        for message, times in Counter(messages).items()
    }


def _has_sent(seed: World, count: int) -> bool:
    return len(seed.sender) > count


async def tick_and_dump(seed: World, backups: Backups, schedule: int, **settings: str) -> Path:
    """A dump in the middle of a tick, which is then sent to the end; no daemon is left."""
    seed.start(SBM_CONCURRENCY="10", **settings)
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: len(seed.sender) >= 200)
    dump = backups.dump()
    assert len(seed.sender) < 900
    await seed.settled()
    await stop_daemons(seed)
    return dump


@pytest.mark.slow
@pytest.mark.parametrize("has_folder", [False, True])
@ensureDeferred
async def test_a_dump_in_the_middle_of_a_tick(
    seed: World, backups: Backups, tmp_path: Path, has_folder: bool
) -> None:
    seed.settings |= TIMES | ({"SBM_STATE_DIR": str(tmp_path)} if has_folder else {})
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(1000, messageset, schedule)
    dump = await tick_and_dump(seed, backups, schedule)
    assert len(seed.received()) == len(seed.sender) == 1000
    backups.restore(dump)
    assert seed.direct.value("SELECT count(*) FROM sends") > 100
    seed.start()
    await paused(seed, "run `sbm restored`")
    environ: dict[str, Any] = seed.environ()
    too_early = await run_here("resume", database_uri=seed.database_uri, **environ)
    assert (too_early.status, "run it first" in too_early.stderr) == (1, True)
    would = await sbm(seed, "restored")
    assert "nothing was changed" in would.out
    assert seed.direct.value("SELECT count(*) FROM sends WHERE state = 'owed'") > 100
    await sbm(seed, "restored", "--yes")
    await sbm(seed, "restored", "--yes")
    await paused(seed, "run `sbm restored`")
    assert len(seed.sender) == 1000
    await resume(seed)
    await seed.settled()
    assert len(seed.sender) == 1000
    assert seed.direct.unbalanced_ticks() == []
    numbers = seed.direct.rows("SELECT DISTINCT next_sequence_number AS next FROM subscriptions")
    assert [row["next"] for row in numbers] == [2]
    await stop_daemons(seed)
    seed.start()
    await seed.tick(schedule)
    assert len(seed.sender) == 2000
    assert {times for _, times in times_received(seed)} == {1}


@pytest.mark.slow
@ensureDeferred
async def test_what_was_not_sent_before_the_database_was_lost_is_sent_after_the_restore(
    seed: World, backups: Backups
) -> None:
    seed.settings |= TIMES
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(300, messageset, schedule)
    seed.start(SBM_CONCURRENCY="5")
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: len(seed.sender) >= 50)
    dump = backups.dump()
    await seed.until(lambda: len(seed.sender) >= 100)
    await stop_daemons(seed)
    assert len(seed.sender) < 300
    backups.restore(dump)
    seed.start()
    await paused(seed, "run `sbm restored`")
    await sbm(seed, "restored", "--yes")
    await resume(seed)
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == 300
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_dump_just_before_a_tick_of_the_clock(seed: World, backups: Backups) -> None:
    seed.settings |= CLOCK
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(100, messageset, schedule)
    seed.start()
    is_set = "SELECT count(*) FROM schedules WHERE next_tick_at IS NOT NULL"
    await seed.until(lambda: seed.direct.value(is_set))
    dump = backups.dump()
    come = "UPDATE schedules SET next_tick_at = date_trunc('minute', now()) RETURNING next_tick_at"
    moment = seed.direct.value(come)
    await seed.until(lambda: len(seed.sender) == 100)
    await seed.settled()
    await stop_daemons(seed)
    backups.restore(dump)
    assert seed.direct.value("UPDATE schedules SET next_tick_at = %s RETURNING 1", moment)
    seed.start()
    await paused(seed, "run `sbm restored`")
    done = await sbm(seed, "restored", "--yes")
    assert "100 of 100 outbounds since then were not known" in done.out
    await resume(seed)
    (tick,) = seed.direct.rows("SELECT state, due_at FROM ticks WHERE source = 'clock'")
    assert (tick["state"], tick["due_at"]) == ("missed", moment)
    assert {entry["outcome"] for entry in seed.direct.ledger()} == {"adopted"}
    assert seed.direct.value("SELECT min(next_sequence_number) FROM subscriptions") == 2
    assert len(seed.sender) == 100
    assert seed.direct.unbalanced_ticks() == []


@pytest.mark.slow
@ensureDeferred
async def test_a_failover_that_lost_commits_needs_no_pause(seed: World, backups: Backups) -> None:
    """The copy stands for a standby that lagged behind, and has become the primary."""
    seed.settings |= TIMES
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(1000, messageset, schedule)
    dump = await tick_and_dump(seed, backups, schedule)
    backups.restore(dump)
    assert seed.direct.value("UPDATE installation SET timeline = timeline - 1 RETURNING 1")
    seed.start()
    await working(seed)
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == 1000
    assert seed.direct.unbalanced_ticks() == []
    await seed.tick(schedule)
    assert len(seed.sender) == 2000
    assert {times for _, times in times_received(seed)} == {1}


@pytest.mark.slow
@ensureDeferred
async def test_members_that_were_not_expanded_in_the_dump_are_asked_about_first(
    seed: World, backups: Backups
) -> None:
    seed.settings |= TIMES
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(100, messageset, schedule)
    seed.start()
    await seed.tick(schedule)
    await stop_daemons(seed)
    # As if the tick had been open in the dump, and three of its messages had never been sent.
    for outbound in seed.sender.outbounds()[:3]:
        seed.sender.delete(outbound.id)
    assert seed.direct.value("UPDATE subscriptions SET next_sequence_number = 1 RETURNING 1")
    assert seed.direct.rows("DELETE FROM ledger RETURNING 1")
    assert seed.direct.value(
        "UPDATE ticks SET state = 'expanding', triggers = 0, expanded_at = NULL,"
        " expanded_up_to = '00000000-0000-0000-0000-000000000000' RETURNING 1"
    )
    seed.start()
    await paused(seed, "run `sbm restored`")
    await sbm(seed, "restored", "--yes")
    await resume(seed)
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == 100
    assert times_received(seed) == {(next(iter(seed.received().values()))[0], 1)}
    assert seed.direct.value("SELECT max(next_sequence_number) FROM subscriptions") == 2
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_restore_under_a_daemon_that_works_is_noticed_too(
    seed: World, backups: Backups
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    mothers = seed.subscribe(20, messageset, schedule)
    seed.start()
    await working(seed)
    for mother in mothers:  # owed in the dump, as if no daemon had come to it
        seed.direct.rows(
            "WITH minute AS (INSERT INTO ticks (source, state, due_at, shard, triggers)"
            " VALUES ('single', 'expanded', now(), 0, 1) RETURNING id) INSERT INTO sends"
            " (kind, lane, subscription_id, identity, tick_id, due_at) SELECT 'next', 'tick',"
            " s.id, identity, minute.id, now() + interval '1 day' FROM subscriptions s, minute"
            " WHERE s.id = %s RETURNING 1",
            mother,
        )
    dump = backups.dump()
    due = "UPDATE sends SET due_at = now() RETURNING 1"
    seed.direct.rows(due)
    await seed.settled()
    assert len(seed.sender) == 20
    backups.restore_in_place(dump)
    seed.direct.rows(due)
    with suppress(AssertionError):  # until the daemon has connected again
        await pause_of(seed)
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM pauses"))
    await paused(seed, "run `sbm restored`")
    assert len(seed.sender) == 20


@ensureDeferred
async def test_a_staging_system_on_the_same_message_sender(seed: World, backups: Backups) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(10, messageset, schedule)
    seed.start()
    await working(seed)
    production, direct, dump = seed.database_uri, seed.direct, backups.dump()
    await seed.tick(schedule)
    await stop_daemons(seed)
    backups.restore(dump)
    await sbm(seed, "restored", "--yes", "--new-installation")
    await resume(seed)
    seed.start()
    await working(seed)
    await seed.tick(schedule)
    staging = seed.database_uri
    await stop_daemons(seed)
    ids = {one.said.metadata["sbm_installation_id"] for one in seed.sender.outbounds()}
    assert len(ids) == 2
    for uri, its_direct in ((production, direct), (staging, seed.direct)):
        seed.database_uri, seed.direct = uri, its_direct
        seed.start()
        await working(seed)
        await stop_daemons(seed)


@ensureDeferred
async def test_a_restart_beside_a_daemon_that_works_is_no_restore(
    seed: World, tmp_path: Path
) -> None:
    seed.settings |= {"SBM_STATE_DIR": str(tmp_path)}
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(500, messageset, schedule)
    seed.start(SBM_CONCURRENCY="5")
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    for _ in range(3):
        wanted = min(len(seed.sender) + 20, 499)
        await seed.until(partial(_has_sent, seed, wanted))
        seed.start(SBM_CONCURRENCY="5")
        await working(seed)
    await seed.settled()
    await stop_daemons(seed)
    seed.start()
    await working(seed)
    assert len(seed.received()) == len(seed.sender) == 500
    assert seed.direct.value("SELECT count(*) FROM pauses") == 0


@pytest.mark.slow
@ensureDeferred
async def test_a_pause_keeps_the_time_of_the_dump(seed: World, backups: Backups) -> None:
    """What `sbm restored` compares since is not the time of the pause."""
    seed.settings |= TIMES
    schedule = seed.direct.schedule()
    seed.subscribe(300, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    await working(seed)
    dump = backups.dump()
    await seed.tick(schedule)
    assert len(seed.sender) == 300
    await stop_daemons(seed)
    backups.restore(dump)
    seen_at = seed.direct.value("SELECT seen_at FROM installation")
    seed.start(SBM_PAUSED="1")
    await paused(seed, "SBM_PAUSED is set")
    assert seed.direct.value("SELECT seen_at FROM installation") == seen_at
    assert "300 of 300 outbounds" in (await sbm(seed, "restored", "--yes")).out
    await resume(seed)
    assert len(seed.direct.ledger()) == 300


@ensureDeferred
async def test_nothing_is_claimed_before_the_message_sender_was_asked(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(1, seed.direct.messageset("pregnancy", schedule), schedule)
    await seed.message_sender.close()
    seed.start()
    await paused(seed, "the Message Sender has to be asked")
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM sends"))  # it is expanded
    await paused(seed, "the Message Sender has to be asked")
    assert seed.direct.value("SELECT sum(attempt) FROM sends") == 0
    seed.message_sender.open()
    await working(seed)
    await seed.settled()
    assert len(seed.sender) == 1
