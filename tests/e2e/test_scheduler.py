"""The Scheduler calls back for each subscription, or for each schedule; and never for both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

import pytest
import treq
from attrs import frozen
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.sandbox.stand_ins.beat import Beat
from tests.e2e.end_to_end import SCHEDULER_TOKEN, World, pause, world

API = "/api/v1"
NEVER = {"day_of_month": "29", "month_of_year": "2"}


@pytest.fixture
def seed(database_uri: str) -> Iterator[World]:
    with world(database_uri) as seed:
        yield seed


async def told(seed: World) -> None:
    """Return when nothing is owed to the Scheduler."""
    await seed.until(lambda: not seed.direct.value("SELECT count(*) FROM scheduler_calls"))


def calls(seed: World) -> dict[str, bool]:
    """The schedules of the Scheduler: by endpoint, whether they are enabled."""
    entries = [seed.schedules.get(one) for one in seed.schedules._schedules]
    return {entry.endpoint.partition(API)[2]: entry.enabled for entry in entries}


async def subscribed(seed: World, token: str, **more: Any) -> str:
    identity = "6fb30d6b-ba06-4964-825e-20f93388b9fe"
    seed.identities.add("+27820001001", identity)
    status, made = await seed.call(
        "POST", f"{API}/subscriptions/", {"identity": identity, "lang": "eng", **more}, token=token
    )
    assert status == 201
    return str(made["id"])


@ensureDeferred
async def test_a_subscription_is_called_for_until_it_is_completed_and_so_is_the_next(
    seed: World,
) -> None:
    try:
        schedule = seed.direct.schedule(hour="8")
        last = seed.direct.messageset("last", schedule, messages=1, langs=("eng",))
        first = seed.direct.messageset("first", schedule, messages=1, next_set=last, langs=("eng",))
        seed.start()
        token = await seed.token()
        made = await subscribed(seed, token, messageset=first, schedule=schedule)
        await told(seed)
        assert calls(seed) == {f"/subscriptions/{made}/send": True}
        _, shown = await seed.call("GET", f"{API}/subscriptions/{made}/", token=token)
        (entry,) = seed.schedules.enabled()
        assert shown["metadata"] == {"scheduler_schedule_id": entry.id}
        assert entry.auth_token == SCHEDULER_TOKEN
        assert entry.cron_definition == "* 8 * * *"

        status, _ = await seed.call("POST", entry.endpoint.partition("example.org")[2])
        assert status == 201
        await seed.settled()
        await told(seed)
        chained = seed.direct.value("SELECT id FROM subscriptions WHERE chained_from IS NOT NULL")
        assert calls(seed) == {
            f"/subscriptions/{made}/send": False,
            f"/subscriptions/{chained}/send": True,
        }
        assert set(seed.direct.subscription(UUID(str(chained)))["metadata"]) == {
            "scheduler_schedule_id"
        }

        await seed.call("DELETE", f"{API}/subscriptions/{chained}/", token=token)
        await told(seed)
        assert set(calls(seed).values()) == {False}
    finally:
        await seed.stop()


@pytest.mark.parametrize("mode", ["schedule", "builtin"])
@ensureDeferred
async def test_a_leftover_is_disabled_and_sends_nothing(seed: World, mode: str) -> None:
    try:
        schedule = seed.direct.schedule(minute="0", hour="0", day_of_month="1", month_of_year="1")
        messages = seed.direct.messageset("set", schedule, langs=("eng",))
        old = seed.schedules.create(endpoint="http://old/", auth_token=SCHEDULER_TOKEN)
        seed.start(SBM_SCHEDULING=mode)
        token = await seed.token()
        made = await subscribed(
            seed,
            token,
            messageset=messages,
            schedule=schedule,
            metadata={"scheduler_schedule_id": old.id},
        )
        path = f"{API}/subscriptions/{made}/send"
        status, said = await seed.call("POST", path)
        assert (status, said["accepted"]) == (200, False)
        await seed.until(lambda: not seed.schedules.get(old.id).enabled)
        await told(seed)
        assert seed.direct.ledger() == seed.direct.rows("SELECT * FROM sends") == []
        # Another client has enabled it again.
        seed.schedules.change(old.id, enabled=True)
        await seed.call("POST", path)
        await seed.until(lambda: not seed.schedules.get(old.id).enabled)

        status, said = await seed.call("POST", path, token=token)
        assert (status, said) == (201, {"accepted": True})
        await seed.settled()
        assert len(seed.sender.outbounds()) == 1

        # It outlives its subscription.
        await seed.call("DELETE", f"{API}/subscriptions/{made}/", token=token)
        seed.schedules.change(old.id, enabled=True)
        status, said = await seed.call("POST", path)
        assert (status, said["accepted"]) == (400, False)
        await seed.until(lambda: not seed.schedules.get(old.id).enabled)
    finally:
        await seed.stop()


@pytest.mark.parametrize("mode", ["subscription", "builtin"])
@ensureDeferred
async def test_a_schedule_that_the_scheduler_should_not_call_for_makes_no_tick(
    seed: World, mode: str
) -> None:
    try:
        seed.start(SBM_SCHEDULING="schedule")
        token = await seed.token()
        _, made = await seed.call("POST", f"{API}/schedule/", NEVER, token=token)
        await told(seed)
        path = f"{API}/schedule/{made['id']}/send/"
        assert calls(seed) == {path[len(API) :]: True}
        daemon, _ = seed.daemons.pop()
        await daemon.stopService()
        if mode == "builtin":
            # Where nobody can be told of it, there is no tick, either: the clock makes them.
            seed.start(SBM_SCHEDULING=mode, SCHEDULER_URL="")
            assert await seed.call("POST", path) == (202, {})
            daemon, _ = seed.daemons.pop()
            await daemon.stopService()
        seed.start(SBM_SCHEDULING=mode)
        ticks = "SELECT * FROM ticks WHERE source = 'post-back'"
        assert await seed.call("POST", path) == (202, {})
        if mode == "subscription":  # nobody has told the Scheduler yet: its calls count
            assert len(seed.direct.rows(ticks)) == 1
            seed.direct.rows("SELECT owe_scheduler_call('schedule', %s)", str(made["id"]))
        for _ in range(2):
            await seed.until(lambda: not seed.schedules.enabled())
            await told(seed)
            before = len(seed.direct.rows(ticks))
            assert before == (mode == "subscription")
            (entry,) = seed.schedules._schedules
            seed.schedules.change(entry, enabled=True)
            assert await seed.call("POST", path) == (202, {})
        assert len(seed.direct.rows(ticks)) == before
        assert await seed.call("POST", path, token=token) == (202, {})
        assert len(seed.direct.rows(ticks)) == before + 1
    finally:
        await seed.stop()


@ensureDeferred
async def test_the_scheduler_being_away_hinders_nobody(seed: World) -> None:
    try:
        schedule = seed.direct.schedule(hour="8")
        messages = seed.direct.messageset("set", schedule, langs=("eng",))
        seed.start(SBM_BACKOFF_MAX_SECONDS="1")
        token = await seed.token()
        await seed.scheduler.close()
        made = await subscribed(seed, token, messageset=messages, schedule=schedule)
        assert (await seed.call("POST", f"{API}/subscriptions/{made}/send"))[0] == 201
        await seed.settled()
        assert len(seed.sender.outbounds()) == 1
        assert seed.direct.value("SELECT count(*) FROM scheduler_calls") == 1
        seed.scheduler.open()
        await told(seed)
        assert calls(seed) == {f"/subscriptions/{made}/send": True}
    finally:
        await seed.stop()


@ensureDeferred
async def test_a_changed_schedule_is_called_for_at_its_new_time_alone(seed: World) -> None:
    try:
        seed.start(SBM_SCHEDULING="schedule")
        token = await seed.token()
        _, made = await seed.call(
            "POST", f"{API}/schedule/", {"minute": "0", "hour": "8"}, token=token
        )
        path = f"{API}/schedule/{made['id']}/"
        await told(seed)
        await seed.call("PATCH", path, {"hour": "9"}, token=token)
        await told(seed)
        time = datetime(2026, 1, 5, 7, 59, tzinfo=timezone.utc)
        clock: Any = Clock()
        beat = Beat(
            scheduler=seed.schedules,
            treq=OneDaemon(seed.daemons[0][1]),
            clock=clock,
            now=lambda: time,
            draw=lambda: 0.0,
        )
        beat.startService()
        for hour in (8, 9):
            time = time.replace(hour=hour, minute=0)
            clock.advance(1)
            while beat.is_calling:
                await pause(0.01)
        await beat.stopService()
        ticks = seed.direct.rows("SELECT * FROM ticks WHERE source = 'post-back'")
        assert [str(tick["schedule_id"]) for tick in ticks] == [str(made["id"])]
        assert list(seed.schedules.failures) == []
        fired = [entry.fires_at for entry in seed.schedules.enabled()]
        assert fired == ["0 9 * * *"]
    finally:
        await seed.stop()


@frozen
class OneDaemon:
    """Calls one daemon, by whatever name it is called."""

    url: str

    def post(self, url: str, **kwargs: Any) -> Deferred[Any]:
        posted: Deferred[Any] = treq.post(self.url + url[url.index(API) :], **kwargs)
        return posted
