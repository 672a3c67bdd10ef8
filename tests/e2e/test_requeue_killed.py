"""A long requeue whose daemon is killed, a real process, and another that goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import treq
from pytest_twisted import ensureDeferred
from twisted.web.http_headers import Headers

from sbm.operations.requeue import AT_ONCE
from sbm.pipeline.tasks.requests import REQUEUE_BATCH
from tests.arrange import arranged
from tests.e2e.end_to_end import World
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TWISTD = "from twisted.scripts.twistd import run; run()"


@contextmanager
def process(seed: World, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that is a process of its own; whatever becomes of it, it is gone at the end."""
    environ = {
        "STAGE_BASED_MESSAGING_DATABASE": seed.database_uri,
        "IDENTITY_STORE_URL": seed.identity_store.url,
        "IDENTITY_STORE_TOKEN": "i",
        "MESSAGE_SENDER_URL": seed.message_sender.url,
        "MESSAGE_SENDER_TOKEN": "m",
        "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
        "SCHEDULER_URL": "http://scheduler.example.org/api/v1",
        "SCHEDULER_API_TOKEN": "s",
        "SCHEDULER_INBOUND_API_TOKEN": "t",
        "PYTHONPATH": str(ROOT),
    }
    listen = f"tcp:{port}:interface=127.0.0.1"
    command = [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "sbm", "--listen", listen]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=folder, env=os.environ | environ, stdout=log, stderr=log
        ) as daemon,
    ):
        try:
            yield daemon
        finally:
            daemon.kill()


def left_and_waiting(seed: World) -> tuple[int, bool]:
    """How many failed tasks are left, and whether a session waits for a lock."""
    left = seed.direct.value("SELECT count(*) FROM failed_tasks")
    return left, bool(seed.direct.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@ensureDeferred
async def test_a_requeue_that_is_killed_in_the_middle_of_a_batch_goes_on_in_another_daemon(
    seed: World, tmp_path: Path
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    count = AT_ONCE + 2 * REQUEUE_BATCH + 10
    mothers = seed.subscribe(count, messageset, schedule)
    ids = seed.direct.failures([*mothers, *mothers[:5]])
    others = ids[count:]
    seed.direct.rows("UPDATE failed_tasks SET reason = 'other' WHERE id = ANY(%s)", others)
    meant = seed.direct.rows("SELECT send_id FROM failed_tasks WHERE reason <> 'other'")
    left = REQUEUE_BATCH + 10 + len(others)
    in_second_batch = mothers[AT_ONCE + REQUEUE_BATCH + 5]
    token = await seed.token()
    await seed.identity_store.close()  # so that all who are owed a message can be counted
    port = free_port()
    with process(seed, tmp_path, port) as daemon, arranged(seed.database_uri) as somebody:
        await seed.until(lambda: b"starting on" in (tmp_path / "log").read_bytes())
        somebody.rows("BEGIN")
        somebody.rows(
            "SELECT FROM failed_tasks WHERE subscription_id = %s FOR UPDATE", in_second_batch
        )
        response = await treq.post(
            f"http://127.0.0.1:{port}/api/v1/failed-tasks/?reason_contains=CHANNEL",
            headers=Headers({"Authorization": [f"Token {token}"]}),
            persistent=False,
        )
        assert response.code == 201
        await seed.until(lambda: left_and_waiting(seed) == (left, True))
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        somebody.rows("ROLLBACK")
    assert left_and_waiting(seed)[0] == left
    seed.direct.rows("UPDATE tasks SET lease_until = now() - interval '1 second'")
    seed.start()
    await seed.until(lambda: seed.direct.value("SELECT state FROM tasks") == "done")
    remaining = {row["id"] for row in seed.direct.rows("SELECT id FROM failed_tasks")}
    assert remaining == set(others)
    owed = seed.direct.rows("SELECT id FROM sends")
    assert {row["id"] for row in owed} == {row["send_id"] for row in meant}
    assert seed.direct.value("SELECT sum(triggers) FROM ticks") == count
    assert seed.direct.value("SELECT count(*) FROM ledger") == 0
    assert seed.direct.unbalanced_ticks() == []
