"""Hearing of work, also after the connection was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.model.scheduler_call import Difference
from sbm.runtime.wakeups import Wakeups
from sbm.store import scheduler_schedules, tasks, ticks
from sbm.store.postgres import connection, notifications
from sbm.store.postgres.database import Database
from sbm.store.postgres.notifications import Notifications
from tests.arrange import Arranged
from tests.store.postgres.database_proxy import DatabaseProxy, reactor
from tests.store.transactions import SOON

TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
)


@define(eq=False)
class Counter:
    """Counts what it hears; ``next`` fires at the next time."""

    heard: int = 0
    next: Deferred[None] = field(factory=Deferred)

    def __call__(self) -> None:
        self.heard += 1
        following, self.next = self.next, Deferred()
        # Not from within the listening, which goes on first.
        reactor.callLater(0, following.callback, None)


@pytest.fixture
def ear() -> Counter:
    return Counter()


@pytest_twisted.async_yield_fixture
async def listening(
    proxy: DatabaseProxy, ear: Counter, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Notifications]:
    """It tries again soon after a failure."""
    monkeypatch.setattr(notifications, "RETRY_SECONDS", 0.02)
    listening = Notifications(reactor=reactor, address=proxy.address, heard={"sbm_ticks": ear})
    yield listening
    if listening.running:
        await listening.stopService()


async def start(listening: Notifications, ear: Counter) -> None:
    """Begin to listen; to begin with, it rings for what was said before."""
    ready = ear.next
    listening.startService()
    await ready


@ensureDeferred
async def test_beginning_to_listen_rings_once(listening: Notifications, ear: Counter) -> None:
    await start(listening, ear)
    assert ear.heard == 1


@ensureDeferred
async def test_what_others_say_is_heard(
    listening: Notifications, ear: Counter, direct: Arranged
) -> None:
    await start(listening, ear)
    for _ in range(3):
        said = ear.next
        direct.rows("NOTIFY sbm_ticks")
        await said
    assert ear.heard == 4


@ensureDeferred
async def test_a_tick_is_heard(
    listening: Notifications, ear: Counter, database: Database, direct: Arranged
) -> None:
    await start(listening, ear)
    said = ear.next
    await database.transact(ticks.open_tick, schedule_id=direct.schedule())
    await said


@ensureDeferred
async def test_other_channels_are_not_listened_to(
    listening: Notifications, ear: Counter, direct: Arranged
) -> None:
    await start(listening, ear)
    said = ear.next
    direct.rows("NOTIFY something_else")
    direct.rows("NOTIFY sbm_ticks")
    await said
    assert ear.heard == 2


@ensureDeferred
async def test_a_listener_that_is_killed_listens_again(
    listening: Notifications, ear: Counter, direct: Arranged
) -> None:
    await start(listening, ear)
    for _ in range(3):
        again = ear.next
        direct.rows(TERMINATE)
        await again
    said = ear.next
    direct.rows("NOTIFY sbm_ticks")
    await said


@ensureDeferred
async def test_a_server_that_falls_silent_is_noticed_and_listened_to_again(
    listening: Notifications,
    ear: Counter,
    proxy: DatabaseProxy,
    direct: Arranged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without being told that its connection is gone: it asks."""
    assert notifications.CHECK_SECONDS + connection.PROMPT_SECONDS <= 30
    monkeypatch.setattr(notifications, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(notifications, "PROMPT_SECONDS", SOON)
    await start(listening, ear)
    again = ear.next
    proxy.lines[0].fall_silent()
    await again
    said = ear.next
    direct.rows("NOTIFY sbm_ticks")
    await said
    assert len(proxy.lines) == 2


@ensureDeferred
async def test_a_server_that_comes_late_is_listened_to(
    listening: Notifications, ear: Counter, proxy: DatabaseProxy
) -> None:
    await proxy.close()
    ready = ear.next
    listening.startService()
    proxy.open()
    await ready


@ensureDeferred
async def test_a_server_that_goes_and_comes_back_is_listened_to_again(
    listening: Notifications, ear: Counter, proxy: DatabaseProxy, direct: Arranged
) -> None:
    await start(listening, ear)
    await proxy.close()
    again = ear.next
    proxy.open()
    await again
    said = ear.next
    direct.rows("NOTIFY sbm_ticks")
    await said


@ensureDeferred
async def test_stopping_hangs_up(
    listening: Notifications, ear: Counter, proxy: DatabaseProxy
) -> None:
    await start(listening, ear)
    await listening.stopService()
    await proxy.lines[0].closed
    assert (ear.heard, len(proxy.lines)) == (1, 1)


@ensureDeferred
async def test_it_stops_while_nobody_answers(
    listening: Notifications, ear: Counter, proxy: DatabaseProxy
) -> None:
    proxy.is_silent = True
    listening.startService()
    await listening.stopService()
    assert ear.heard == 0


@ensureDeferred
async def test_it_stops_while_it_rests(proxy: DatabaseProxy, ear: Counter, tmp_path: Path) -> None:
    nowhere = evolve(proxy.address, hosts=((str(tmp_path / "nowhere"), 5432),))
    listening = Notifications(reactor=reactor, address=nowhere, heard={"sbm_ticks": ear})
    listening.startService()
    await listening.stopService()
    assert ear.heard == 0


@ensureDeferred
async def test_what_was_never_started_is_stopped_at_once(listening: Notifications) -> None:
    await listening.stopService()


@ensureDeferred
async def test_each_channel_has_its_own_listener(proxy: DatabaseProxy, direct: Arranged) -> None:
    ears = {"sbm_ticks": Counter(), "sbm_sends": Counter()}
    listening = Notifications(reactor=reactor, address=proxy.address, heard=ears)
    ready = ears["sbm_sends"].next
    listening.startService()
    await ready
    said = ears["sbm_sends"].next
    direct.rows("NOTIFY sbm_sends")
    await said
    assert {channel: ear.heard for channel, ear in ears.items()} == {"sbm_ticks": 1, "sbm_sends": 2}
    await listening.stopService()


DIFFERENCE = Difference(
    kind="schedule",
    target="1",
    remote_id=None,
    cron_definition="* * * * *",
    enabled=None,
    action="create",
    about="schedule 1",
)


@pytest.mark.parametrize(
    ("work", "arguments", "channel"),
    [
        (tasks.request, {"kind": "estimate-sends", "requested_by": None}, "sbm_tasks"),
        (tasks.request, {"kind": "sync-audio-files", "requested_by": None}, "sbm_audio_copies"),
        (ticks.expand, {"limit": 10}, "sbm_sends"),
        (
            scheduler_schedules.apply,
            {"differences": [DIFFERENCE], "since": datetime.now(timezone.utc)},
            "sbm_scheduler_calls",
        ),
    ],
    ids=["task", "copies", "chunk", "calls"],
)
@ensureDeferred
async def test_work_is_heard_of_on_its_channel_alone(
    proxy: DatabaseProxy,
    direct: Arranged,
    database: Database,
    work: Callable[..., Awaitable[Any]],
    arguments: dict[str, Any],
    channel: str,
) -> None:
    schedule = direct.schedule()
    await database.transact(ticks.open_tick, schedule_id=schedule)
    ears = {name: Counter() for name in Wakeups.of(reactor).by_channel()}
    listening = Notifications(reactor=reactor, address=proxy.address, heard=ears)
    ready = ears[channel].next
    listening.startService()
    await ready
    said = ears[channel].next
    await database.transact(work, **arguments)
    await said
    assert {name for name, ear in ears.items() if ear.heard > 1} == {channel}
    await listening.stopService()
