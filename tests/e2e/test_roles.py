"""Daemons of which some only answer requests, and others only send."""

from __future__ import annotations

import json
from typing import Any

import pytest
import treq
from pytest_twisted import ensureDeferred

from tests.commands.operator import Outcome, run_here
from tests.e2e.end_to_end import World


async def status_of(url: str, path: str) -> int:
    response = await treq.get(f"{url}{path}", persistent=False)
    await response.content()
    code: int = response.code
    return code


async def sbm(seed: World, *arguments: str) -> Outcome:
    return await run_here(*arguments, database_uri=seed.database_uri)


async def lives(seed: World, count: int) -> None:
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM daemons") == count)


@ensureDeferred
async def test_one_answers_and_the_other_sends(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(3, seed.direct.messageset("pregnancy", schedule), schedule)
    api = seed.start("api")
    tick = f"/api/v1/schedule/{schedule}/send/"
    assert (await seed.call("POST", tick, at=api))[0] == 202
    await lives(seed, 1)
    assert seed.direct.value("SELECT state FROM ticks") == "expanding"
    pipeline = seed.start("pipeline")
    await seed.settled()
    assert len(seed.sender) == 3
    owners = seed.direct.rows("SELECT role FROM daemons ORDER BY since")
    assert [row["role"] for row in owners] == ["api", "pipeline"]
    assert await status_of(pipeline, tick) == 404


@pytest.mark.parametrize("role", ["all", "api", "pipeline"])
@ensureDeferred
async def test_each_role_answers_supervisors(seed: World, role: Any) -> None:
    url = seed.start(role)
    for path in ("/livez", "/readyz", "/metrics"):
        assert await status_of(url, path) == 200
    assert await status_of(url, "/api/health/") == (404 if role == "pipeline" else 401)
    if role != "pipeline":
        _, health = await seed.call("GET", "/api/health/")
        assert health["result"]["role"] == role


@ensureDeferred
async def test_a_daemon_without_a_database_lives_and_is_not_ready(seed: World) -> None:
    seed.database_uri = "postgres://127.0.0.1:1/nothing"
    url = seed.start("pipeline")
    assert await status_of(url, "/livez") == 200
    assert await status_of(url, "/readyz") == 503


@ensureDeferred
async def test_a_daemon_is_listed_while_it_lives(seed: World) -> None:
    nobody = await sbm(seed, "status")
    assert (nobody.status, "none lives" in nobody.out) == (1, True)
    seed.start(SBM_COMMIT="0123456789abcdef")
    await lives(seed, 1)
    await seed.until(lambda: seed.direct.value("SELECT pause = '' FROM daemons"))
    one = await sbm(seed, "status")
    assert one.status == 0
    assert " all " in one.out
    assert "0123456789ab" in one.out
    seed.direct.rows("UPDATE daemons SET seen_at = now() - interval '2 minutes' RETURNING 1")
    silent = await sbm(seed, "status")
    assert (silent.status, "silent since" in silent.out) == (1, True)
    await seed.stop()
    assert seed.direct.value("SELECT count(*) FROM daemons") == 0


@ensureDeferred
async def test_the_status_tells_of_the_queue_ticks_pauses_and_services(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(3, seed.direct.messageset("pregnancy", schedule), schedule)
    await seed.message_sender.close()
    seed.start()
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: seed.direct.value("SELECT count(*) FROM sends") == 3)
    await seed.until(lambda: seed.direct.value("SELECT pause LIKE '%Message Sender%' FROM daemons"))
    told = json.loads((await sbm(seed, "status", "--json")).out)
    assert told["is_sending"] is False
    (row,) = told["queue"]
    assert (row["lane"], row["state"], row["sends"]) == ("tick", "owed", 3)
    (tick,) = told["ticks"]
    assert (tick["schedule"], tick["live"], tick["members"]) == (schedule, 3, 3)
    assert tick["expected_end"] is None
    (daemon,) = told["daemons"]
    assert "Message Sender" in daemon["pause"]
    text = (await sbm(seed, "status")).out
    assert "paused" in text
    assert "tick  owed   -     3" in text


@ensureDeferred
async def test_what_is_left_of_a_daemon_that_was_killed_is_deleted(seed: World) -> None:
    seed.direct.rows(
        "INSERT INTO daemons (id, role, version, host, pid, since, seen_at)"
        " SELECT gen_random_uuid(), 'all', '1', 'gone', 1, at, at"
        "   FROM (SELECT now() - interval '2 days' AS at) long_ago"
    )
    seed.direct.rows(
        "INSERT INTO pauses (kind, daemon, reason, since)"
        " SELECT 'setting', id, 'SBM_PAUSED is set', since FROM daemons"
    )
    seed.start()
    await seed.until(lambda: not seed.direct.value("SELECT count(*) FROM pauses"))
    assert seed.direct.value("SELECT count(*) FROM daemons WHERE host = 'gone'") == 0
