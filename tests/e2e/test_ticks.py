"""Ticks of whole schedules, by whole daemons: one that is killed, and two that meet."""

from __future__ import annotations

import signal

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import capturedLogs, formatEvent

from sbm.pipeline.ticks import CHUNK
from tests.arrange import arranged
from tests.e2e.daemons import processes
from tests.e2e.end_to_end import World
from tests.e2e.gates import gated


@ensureDeferred
async def test_a_tick_whose_daemon_is_killed_within_a_chunk_is_expanded_to_its_end_by_another(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    count = 2 * CHUNK + 10
    members = sorted(seed.direct.subscriptions(count, messageset, schedule))
    await seed.identity_store.close()  # so that all who are owed a message can be counted

    def expanded_and_waiting() -> tuple[int, bool]:
        return (
            seed.direct.value("SELECT triggers FROM ticks"),
            seed.direct.value("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"),
        )

    with processes(seed, 1) as (daemon,), arranged(seed.database_uri) as somebody:
        await daemon.start()
        somebody.rows("BEGIN")
        # A send that nobody sees yet, in the way of one in the second chunk.
        somebody.rows(
            "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
            " VALUES ('next', 'single', %s, 'x', 0)",
            members[CHUNK + 7],
        )
        status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/", at=daemon.url)
        assert status == 202
        await seed.until(lambda: expanded_and_waiting() == (CHUNK, True))
        await daemon.end(signal.SIGKILL)
        somebody.rows("ROLLBACK")
    (new,) = seed.direct.subscriptions(1, messageset, schedule)
    seed.start()
    await seed.until(lambda: seed.direct.value("SELECT state FROM ticks") == "expanded")
    owed = [row["subscription_id"] for row in seed.direct.rows("SELECT * FROM sends")]
    assert sorted(owed) == members
    assert new not in owed
    assert seed.direct.value("SELECT triggers FROM ticks") == count
    assert seed.direct.ledger() == []


@ensureDeferred
async def test_a_tick_that_comes_while_the_last_one_is_being_sent_doubles_nobody(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(6, seed.direct.messageset("pregnancy", schedule), schedule)
    storing = (await gated(seed)).only("storing")
    seed.start(SBM_CONCURRENCY="2")

    async def tick() -> None:
        path = f"/api/v1/schedule/{schedule}/send/"
        assert await seed.call("POST", path) == (202, {})

    await tick()
    await seed.until(lambda: storing.waiting)
    storing.waiting.pop(0).callback(None)
    await seed.until(seed.direct.ledger)
    await tick()
    await seed.until(
        lambda: seed.direct.value("SELECT state = 'expanded' FROM ticks ORDER BY id DESC LIMIT 1")
    )
    storing.open()
    await seed.settled()
    assert list(seed.received().values()) == [["pregnancy 1 eng_ZA"]] * 6
    token = await seed.token(admin=False)
    status, listed = await seed.call("GET", "/api/v1/ticks/", token=token)
    assert status == 200
    second, first = listed["results"]
    assert (second["follows"], second["triggers"], first["triggers"]) == (first["id"], 6, 6)
    for tick_of, outcome in ((first, "sent"), (second, "skipped")):
        path = f"/api/v1/ticks/{tick_of['id']}/"
        _, told = await seed.call("GET", path)
        assert told["progress"]["outcomes"][outcome] == told["progress"]["settled"] == 6
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_clock_that_takes_over_from_a_scheduler_makes_up_for_nothing(
    seed: World,
) -> None:
    seed.direct.rows("UPDATE scheduling SET mode = 'schedule'")
    ago = "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '10 minutes', %s)"
    hour, minute = (str(int(seed.direct.value(ago, part))) for part in ("HH24", "MI"))
    schedule = seed.direct.schedule(hour=hour, minute=minute)
    # As the clock left it months ago, when it was in charge the last time.
    seed.direct.rows(
        "UPDATE schedules SET next_tick_at = now() - interval '90 days',"
        " next_tick_rule = concat_ws(' ', minute, hour, '* * * UTC')"
    )
    seed.start(SBM_SCHEDULING="builtin")
    await seed.until(
        lambda: seed.direct.value(
            "SELECT next_tick_at > now() FROM schedules WHERE id = %s", schedule
        )
    )
    assert seed.direct.rows("SELECT source, state FROM ticks") == []


@ensureDeferred
async def test_zones_of_schedules_count_by_the_clock_and_no_other_does_by_a_scheduler(
    seed: World,
) -> None:
    """Set by the API while the clock ticks; then the daemon starts again, with a Scheduler."""
    path = "/api/v1/schedule/"
    fields = {"minute": "0", "hour": "8"}
    seed.start(SBM_SCHEDULING="builtin", SBM_TIMEZONE="Africa/Johannesburg")
    token = await seed.token()
    made = [
        await seed.call("POST", path, fields | zone, token=token)
        for zone in ({}, {"time_zone": "Asia/Tokyo"})
    ]
    assert [status for status, _ in made] == [201, 201]
    waiting = (
        "SELECT EXTRACT(hour FROM next_tick_at AT TIME ZONE 'UTC')::integer AS hour"
        " FROM schedules WHERE next_tick_at IS NOT NULL ORDER BY id"
    )
    await seed.until(lambda: [row["hour"] for row in seed.direct.rows(waiting)] == [6, 23])
    own = f"{path}{made[0][1]['id']}/"
    assert (await seed.call("PATCH", own, {"time_zone": "UTC"}, token=token))[0] == 200
    await seed.until(lambda: [row["hour"] for row in seed.direct.rows(waiting)] == [8, 23])
    await seed.stop()

    with capturedLogs() as logged:
        seed.start(SBM_SCHEDULING="schedule", SBM_SCHEDULER_TIMEZONE="Asia/Tokyo")
        status, refused = await seed.call("PATCH", own, {"time_zone": "Etc/UTC"}, token=token)
        assert (status, list(refused)) == (400, ["time_zone"])
        assert (await seed.call("PATCH", own, {"hour": "9"}, token=token))[0] == 200
        await seed.until(
            lambda: any("1 schedules do not count" in str(formatEvent(one)) for one in logged)
        )


@pytest.mark.parametrize("daemons", [1, 2])
@ensureDeferred
async def test_a_flood_of_calls_while_nothing_can_be_sent_leaves_few_rows_for_each_person(
    seed: World, daemons: int
) -> None:
    """One that was sent, and one that was skipped, by each daemon that met it at that moment."""
    calls, count = 30, 25
    schedule = seed.direct.schedule()
    seed.subscribe(count, seed.direct.messageset("pregnancy", schedule, messages=9), schedule)
    await seed.message_sender.close()
    for _ in range(daemons):
        seed.start()
    for _ in range(calls):
        assert await seed.call("POST", f"/api/v1/schedule/{schedule}/send/") == (202, {})
    await seed.until(
        lambda: not seed.direct.value("SELECT count(*) FROM ticks WHERE state = 'expanding'")
    )
    seed.message_sender.open()
    await seed.settled()
    assert list(seed.received().values()) == [["pregnancy 1 eng_ZA"]] * count
    assert 2 * count <= len(seed.direct.ledger()) <= (1 + daemons) * count
    assert seed.direct.value("SELECT sum(triggers) FROM ticks") == calls * count
    assert seed.direct.unbalanced_ticks() == []
