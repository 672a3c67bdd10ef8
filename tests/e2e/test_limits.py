"""Rates, brakes, canaries, ages and hours, with whole daemons."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.web.server import Request

from sbm.sandbox.stand_ins.message_sender import MessageSenderApp
from sbm.sandbox.stand_ins.rest import Response, json_object
from tests.commands.operator import run_here
from tests.e2e.end_to_end import World, mounted, pause
from tests.e2e.test_restored import sbm, stop_daemons, working

BAD_CHANNEL = "no-such-channel"


async def change(seed: World, schedule: int, **limits: Any) -> None:
    status, body = await seed.call("PATCH", f"/api/v1/schedule/{schedule}/", limits)
    assert status == 200, body
    assert {name: body[name] for name in limits} == limits


async def open_tick(seed: World, schedule: int) -> int:
    status, _ = await seed.call("POST", f"/api/v1/schedule/{schedule}/send/")
    assert status == 202
    return int(seed.direct.value("SELECT max(id) FROM ticks WHERE source <> 'single'"))


async def held(seed: World, tick_id: int) -> str | None:
    status, body = await seed.call("GET", f"/api/v1/ticks/{tick_id}/")
    assert status == 200
    return None if body["held"] is None else str(body["held"])


@frozen(eq=False, kw_only=True)
class _Refusing(MessageSenderApp):
    """Refuses what is for one channel."""

    def create(self, request: Request) -> Response:
        if json_object(request).get("channel") == BAD_CHANNEL:
            return Response(status=400, body={"channel": ["There is no such channel."]})
        request.content.seek(0)  # type: ignore[union-attr]
        return super().create(request)


async def refuse_bad_channel(seed: World) -> None:
    await seed.message_sender.close()
    seed.message_sender.resource = mounted(_Refusing(sender=seed.sender).resource())
    seed.message_sender.open()


async def send_tick(seed: World, schedule: int, count: int) -> None:
    """A tick of so many members, which are sent to while other sends wait."""
    sent = len(seed.sender)
    await open_tick(seed, schedule)
    await seed.until(lambda: len(seed.sender) == sent + count)


@ensureDeferred
async def test_two_daemons_keep_the_rate_of_a_schedule_and_others_go_on(seed: World) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(40, messageset, schedule)
    seed.subscribe(100, messageset, other)
    seed.start()
    seed.start()
    await change(seed, schedule, max_rate=10)
    began_at = time.monotonic()
    await open_tick(seed, schedule)
    await open_tick(seed, other)
    await seed.until(lambda: len(seed.sender) >= 100)
    assert len(seed.sender) < 140
    await seed.settled()
    # 40 messages at 10 a second need 3.9 seconds, or a little less.
    assert time.monotonic() - began_at > 39 / (10 * 1.05) - 0.1
    assert len(seed.sender) == 140


@ensureDeferred
async def test_all_schedules_together_keep_the_overall_rate(seed: World) -> None:
    schedules = [seed.direct.schedule() for _ in range(2)]
    messageset = seed.direct.messageset("pregnancy", schedules[0])
    for schedule in schedules:
        seed.subscribe(15, messageset, schedule)
    seed.start(SBM_MAX_RATE="10")
    seed.start(SBM_MAX_RATE="10")
    began_at = time.monotonic()
    for schedule in schedules:
        await open_tick(seed, schedule)
    await seed.settled()
    assert time.monotonic() - began_at > 29 / (10 * 1.05) - 0.1
    assert len(seed.sender) == 30


@ensureDeferred
async def test_after_its_canary_a_tick_waits_until_it_is_released(seed: World) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(30, messageset, schedule)
    seed.subscribe(5, messageset, other)
    seed.start(SBM_CONCURRENCY="5")
    seed.start(SBM_CONCURRENCY="5")
    await change(seed, schedule, canary=10)
    tick_id = await open_tick(seed, schedule)
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) FROM watched_ticks WHERE hold = 'canary'")
    )
    await send_tick(seed, other, 5)
    assert len(seed.sender) == 15
    assert await held(seed, tick_id) == "canary"
    while not any("waits after its first 10" in one for one in await reasons(seed)):
        await pause(0.05)
    environ: dict[str, Any] = seed.environ()
    status = await run_here("status", database_uri=seed.database_uri, **environ)
    assert "canary" in status.out
    assert "goes on" in (await sbm(seed, "release", str(tick_id), "--by", "me")).out
    await seed.settled()
    assert len(seed.sender) == 35
    assert await held(seed, tick_id) is None
    assert "no release" in (await sbm(seed, "release", str(tick_id))).out
    assert (await seed.call("POST", "/api/v1/ticks/999/release/"))[0] == 404


async def reasons(seed: World) -> list[str]:
    _, health = await seed.call("GET", "/api/health/")
    found: list[str] = health["result"]["reasons"]
    return found


@ensureDeferred
async def test_a_tick_whose_messages_are_refused_stops_by_itself(seed: World) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    bad = seed.direct.messageset("bad", schedule, channel=BAD_CHANNEL)
    good = seed.direct.messageset("good", schedule)
    seed.subscribe(400, bad, schedule)
    seed.subscribe(20, good, other)
    await refuse_bad_channel(seed)
    seed.start(SBM_CONCURRENCY="10")
    seed.start(SBM_CONCURRENCY="10")
    await change(seed, schedule, brake_percent=5, brake_after=50)
    tick_id = await open_tick(seed, schedule)
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) FROM watched_ticks WHERE hold = 'braked'")
    )
    await send_tick(seed, other, 20)
    assert await held(seed, tick_id) == "braked"
    refused = seed.direct.value("SELECT count(*) FROM ledger WHERE outcome = 'refused'")
    assert 50 <= refused <= 50 + 2 * 10
    status, body = await seed.call("POST", f"/api/v1/ticks/{tick_id}/release/")
    assert (status, body["id"]) == (200, tick_id)
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) FROM ledger WHERE outcome = 'refused'") >= 100
    )


@ensureDeferred
async def test_an_outage_over_night_wakes_nobody(seed: World) -> None:
    """What was owed is not sent in the night, nor in the morning: then it is too late."""
    schedule = seed.direct.schedule()
    seed.subscribe(5, seed.direct.messageset("pregnancy", schedule), schedule)
    seed.start()
    await working(seed)
    await seed.message_sender.close()
    await change(seed, schedule, max_age=8 * 3600)
    await open_tick(seed, schedule)
    await seed.until(lambda: seed.direct.value("SELECT sum(attempt) FROM sends"))
    now = datetime.now(timezone.utc)
    night = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=4):%H:%M}"
    await change(seed, schedule, send_hours=night)
    # What is in hand at this moment is not held back.
    in_hand = "SELECT count(*) FROM sends WHERE state = 'claimed'"
    await seed.until(lambda: seed.direct.value(in_hand) == 0)
    sent = len(seed.sender)  # by a connection that was open before
    seed.message_sender.open()
    await pause(2)
    assert len(seed.sender) == sent < 5
    await stop_daemons(seed)
    seed.direct.rows("UPDATE ticks SET created_at = created_at - interval '9 hours'")
    seed.direct.rows("UPDATE sends SET due_at = now(), owed_at = owed_at - interval '9 hours'")
    seed.start()
    await change(seed, schedule, send_hours=None)
    await seed.settled()
    assert len(seed.sender) == sent
    skipped = [row["reason"] for row in seed.direct.ledger() if row["outcome"] == "skipped"]
    assert set(skipped) == {"it is older than max_age"}
    await seed.tick(schedule)
    assert len(seed.sender) == sent + 5


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"send_hours": "8-20"}, "send_hours"),
        ({"send_hours": "08:00-08:00"}, "send_hours"),
        ({"max_age": 0}, "max_age"),
        ({"max_rate": "fast"}, "max_rate"),
        ({"canary": -1}, "canary"),
        ({"brake_percent": 5}, "brake_after"),
        ({"brake_after": 5}, "brake_percent"),
        ({"brake_percent": 100, "brake_after": 5}, "brake_percent"),
    ],
)
@ensureDeferred
async def test_a_wrong_limit_is_refused_by_the_name_of_its_field(
    seed: World, limits: dict[str, Any], field: str
) -> None:
    schedule = seed.direct.schedule()
    seed.start("api")
    status, told = await seed.call("PATCH", f"/api/v1/schedule/{schedule}/", limits)
    assert (status, list(told)) == (400, [field])


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
@ensureDeferred
async def test_a_tick_of_another_schedule_is_sent_beside_many_that_are_held(
    seed: World, count: int
) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.direct.subscriptions(count, messageset, schedule)
    seed.subscribe(20, messageset, other)
    seed.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanded', %s)",
        schedule,
    )
    seed.direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " SELECT 'next', 'tick', id, identity, 1 FROM subscriptions WHERE schedule_id = %s",
        schedule,
    )
    seed.direct.rows("UPDATE ticks SET triggers = %s", count)
    seed.start("api")
    what = {"schedule": schedule, "reason": "why"}
    assert (await seed.call("POST", "/api/v1/pauses/", what))[0] == 201
    seed.start()
    tick_id = await open_tick(seed, other)
    await seed.until(lambda: len(seed.sender) == 20)
    held_now = seed.direct.value("SELECT count(*) FROM sends WHERE tick_id = 1")
    assert held_now == count
    assert await held(seed, tick_id) is None
