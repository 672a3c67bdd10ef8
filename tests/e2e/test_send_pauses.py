"""Pauses of sends: by the API and by commands, beside daemons that send and daemons that die."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.commands.operator import run_here
from tests.e2e.daemons import processes
from tests.e2e.end_to_end import World, pause
from tests.e2e.gates import gated
from tests.e2e.test_restored import TIMES, sbm, working

PATH = "/api/v1/pauses/"
QUIET_SECONDS = 0.1


async def begin(seed: World, at: str | None = None, **what: Any) -> int:
    status, begun = await seed.call("POST", PATH, {"reason": "why", **what}, at=at)
    assert status == 201, begun
    return int(begun["id"])


async def state_of(seed: World, pause_id: int, at: str | None = None) -> tuple[str, int]:
    status, found = await seed.call("GET", f"{PATH}{pause_id}/", at=at)
    assert status == 200
    return found["state"], found["in_hand"]


async def in_force(seed: World, pause_id: int, at: str | None = None) -> None:
    while (await state_of(seed, pause_id, at))[0] == "pausing":
        await pause(0.02)
    assert await state_of(seed, pause_id, at) == ("paused", 0)


async def resume(seed: World, pause_id: int, at: str | None = None) -> dict[str, Any]:
    status, ended = await seed.call("POST", f"{PATH}{pause_id}/resume/", at=at)
    assert (status, ended["state"]) == (200, "ended")
    found: dict[str, Any] = ended
    return found


@ensureDeferred
async def test_a_schedule_is_paused_by_the_api_and_the_others_go_on(seed: World) -> None:
    schedule, other = seed.direct.schedule(), seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    seed.subscribe(3, messageset, schedule)
    seed.subscribe(2, messageset, other)
    seed.start()
    pause_id = await begin(seed, schedule=schedule)
    await in_force(seed, pause_id)
    for one in (schedule, other):
        assert (await seed.call("POST", f"/api/v1/schedule/{one}/send/"))[0] == 202
    await seed.until(lambda: len(seed.sender) == 2)
    _, health = await seed.call("GET", "/api/health/")
    (shown,) = health["result"]["send_pauses"]
    assert (shown["id"], shown["of"]) == (pause_id, f"schedule {schedule}")
    environ: dict[str, Any] = seed.environ()
    outcome = await run_here("status", database_uri=seed.database_uri, **environ)
    assert f"schedule {schedule} is paused" in outcome.out
    assert (await resume(seed, pause_id))["ended_by"] == "caller"
    await seed.settled()
    assert len(seed.sender) == 5
    assert (await seed.call("POST", f"{PATH}999/resume/"))[0] == 404


@ensureDeferred
async def test_while_a_post_is_under_way_it_is_pausing_and_the_rest_is_given_back(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(9, seed.direct.messageset("pregnancy", schedule), schedule)
    storing = (await gated(seed)).only("storing")
    seed.start(SBM_CONCURRENCY="2")
    await working(seed)
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: len(storing.waiting) == 2)
    pause_id = await begin(seed, schedule=schedule)
    await seed.until(
        lambda: seed.direct.value("SELECT count(*) = 7 FROM sends WHERE state = 'owed'")
    )
    assert await state_of(seed, pause_id) == ("pausing", 2)
    storing.open()
    await in_force(seed, pause_id)
    assert len(seed.sender) == 2
    await resume(seed, pause_id)
    await seed.settled()
    assert list(seed.received().values()) == [["pregnancy 1 eng_ZA"]] * 9


@ensureDeferred
async def test_the_programme_is_paused_and_resumed_by_commands(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    (mother, *_) = seed.subscribe(2, messageset, schedule)
    seed.start()
    await working(seed)
    told = (await sbm(seed, "pause", "--reason", "wrong texts", "--by", "me")).out
    assert "of the programme: paused: no message of it goes out" in told
    await sbm(
        seed,
        *("pause", "--message-set", "pregnancy", "--lane", "tick", "--no-wait"),
        *("--reason", "x"),
    )
    assert (await seed.call("POST", f"/api/v1/subscriptions/{mother}/send/"))[0] == 201
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await pause(1.5)
    assert len(seed.sender) == 0
    told = (await sbm(seed, "resume")).out
    assert "by me: wrong texts" in told
    assert f"still paused: pause 2 of message set {messageset}, the lane of tick sends" in told
    await seed.until(lambda: len(seed.sender) == 1)
    told = (await sbm(seed, "resume", "--message-set", "pregnancy", "--lane", "tick")).out
    assert "this pause has ended" in told
    await seed.settled()
    assert len(seed.sender) == 2
    assert "there was no such pause" in (await sbm(seed, "resume", "--pause", "1")).out
    audit = seed.direct.rows("SELECT action, actor FROM audit ORDER BY id")
    assert [row["action"] for row in audit] == [
        *("sbm pause", "sbm pause"),
        *("sbm resume", "sbm resume"),
    ]


@ensureDeferred
async def test_without_a_daemon_the_command_waits_for_the_lease_of_a_dead_one(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(1, seed.direct.messageset("pregnancy", schedule), schedule)
    storing = (await gated(seed)).only("storing")
    with processes(seed, 1, **TIMES) as (daemon,):
        await daemon.start()
        await seed.call("POST", f"/api/v1/schedule/{schedule}/send/", at=daemon.url)
        await seed.until(lambda: storing.waiting)
        await daemon.end(signal.SIGKILL)
    told = (await sbm(seed, "pause", "--lane", "tick", "--reason", "x")).out
    assert "pausing the lane of tick sends: 1 sends are in hand" in told
    assert "paused: no message of it goes out" in told
    storing.open()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "why", "schedule": 99}, "schedule"),
        ({"reason": "why", "messageset": 99}, "messageset"),
        ({"reason": "why", "lane": "fast"}, "lane"),
        ({"reason": "why", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"reason": "why", "until": "tomorrow"}, "until"),
        ({"reason": "why", "on_ticks": "never"}, "on_ticks"),
        ({"reason": " "}, "reason"),
        ({}, "reason"),
    ],
)
@ensureDeferred
async def test_a_wrong_pause_is_refused_by_the_name_of_its_field(
    seed: World, body: dict[str, Any], field: str
) -> None:
    seed.start("api")
    status, told = await seed.call("POST", PATH, body)
    assert status == 400
    assert list(told) == [field]
    assert seed.direct.value("SELECT count(*) FROM pauses") == 0


RACES = [(12, 2), pytest.param((1000, 20), marks=pytest.mark.long)]


@pytest.mark.parametrize("races", RACES, ids=["short", "long"])
@ensureDeferred
async def test_no_post_begins_after_a_pause_is_in_force(seed: World, races: Any) -> None:
    """Two daemons send without an end; now and then one of them is killed."""
    count, kills = races
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=2)
    seed.direct.rows("UPDATE messagesets SET next_set_id = id")
    people = seed.subscribe(200, messageset, schedule)
    draw = random.Random(count)

    async def keep_busy() -> None:
        seed.direct.rows(
            "UPDATE subscriptions SET next_sequence_number = 1, active = true, completed = false,"
            " process_status = 0"
        )
        path = f"/api/v1/schedule/{schedule}/send/"
        assert (await seed.call("POST", path, at=draw.choice(daemons).url))[0] == 202

    with processes(seed, 2, SBM_CONCURRENCY="5", **TIMES) as daemons:
        for daemon in daemons:
            await daemon.start()
        scopes: list[dict[str, Any]] = [
            {},
            {"schedule": schedule},
            {"messageset": messageset},
            {"lane": "tick"},
        ]
        killed = set(draw.sample(range(count), kills))
        for race in range(count):
            sent = len(seed.sender)
            await keep_busy()
            await seed.until(lambda sent=sent: len(seed.sender) > sent)  # type: ignore[misc]
            at, victim = draw.choice(daemons).url, draw.choice(daemons)
            pause_id = await begin(seed, at, **draw.choice(scopes))
            if race in killed:
                await victim.end(signal.SIGKILL)
                await victim.start()
            await in_force(seed, pause_id, daemons[0].url)
            stored = len(seed.sender)
            await pause(QUIET_SECONDS)
            assert len(seed.sender) == stored, f"race {race}"
            await resume(seed, pause_id, daemons[1].url)
        assert len(people) == 200
    assert seed.direct.unbalanced_ticks() == []
