"""An old primary comes back after a failover: nobody gets a message twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from tests.arrange import arranged
from tests.e2e.daemons import DaemonProcess, processes
from tests.e2e.end_to_end import World, pause
from tests.replication import Pair, replicated

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replication")]

SETTINGS = {
    "SBM_CONCURRENCY": "10",
    "DEFAULT_REQUEST_TIMEOUT": "3",
    "SBM_LEASE_SECONDS": "6",
    "SBM_SETTLE_SECONDS": "4",
}


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated() as pair:
        yield pair


@pytest_twisted.async_yield_fixture
async def seed(pair: Pair) -> AsyncIterator[World]:
    with arranged(pair.first.uri) as direct:
        made = World(pair.uri, direct, settings=dict(SETTINGS))
        yield made
        await made.stop()


def repeats(seed: World) -> int:
    """Outbounds that are the same message to the same person again."""
    told = Counter((one.said.to_identity, one.said.content) for one in seed.sender.outbounds())
    return sum(count - 1 for count in told.values())


async def ticking(seed: World, pair: Pair, daemon: DaemonProcess, count: int) -> None:
    """Return in the middle of a tick for so many people."""
    schedule = seed.direct.schedule()
    seed.subscribe(count, seed.direct.messageset("pregnancy", schedule), schedule)
    await seed.until(pair.has_caught_up)
    path = f"/api/v1/schedule/{schedule}/send/"
    assert (await seed.call("POST", path, at=daemon.url))[0] == 202
    await seed.until(lambda: len(seed.sender) > 50)


async def all_sent(seed: World, pair: Pair, count: int) -> None:
    """Return when the new primary has settled everything."""
    with arranged(pair.second.uri) as direct:
        await seed.until(lambda: direct.value("SELECT count(*) = %s FROM ledger", count))
        await seed.until(lambda: not direct.value("SELECT count(*) FROM sends"))
        assert direct.unbalanced_ticks() == []
    assert repeats(seed) == 0
    assert len(seed.received()) == count


async def server(seed: World, daemon: DaemonProcess) -> tuple[int, dict[str, object], str]:
    """The status of the health, the state of the server, and the reason."""
    status, health = await seed.call("GET", "/api/health/", at=daemon.url)
    return status, health["result"]["server"], health["result"]["database_reason"]


@ensureDeferred
async def test_an_old_primary_that_is_started_again_is_not_used_after_a_restart(
    seed: World, pair: Pair
) -> None:
    with processes(seed, 2) as (one, other):
        await one.start()
        await other.start()
        await ticking(seed, pair, one, 600)
        pair.first.kill()
        pair.second.promote()
        pair.first.start()
        await one.end()
        await one.start()
        await all_sent(seed, pair, 600)
        for daemon in (one, other):
            status, state, _ = await server(seed, daemon)
            assert (status, state["timeline"]) == (200, 2)
            assert "two servers accept writes; the one on the lower" in str(state["warning"])
            assert "an old primary, and is not used" in daemon.output
        pair.first.stop()
        while (await server(seed, one))[1]["warning"]:
            await pause(0.2)
        # The database remembers the higher timeline only where it is: the daemon, too.
        pair.second.stop()
        pair.first.start()
        while "old primary" not in (await server(seed, other))[2]:
            await pause(0.2)
        assert len(seed.received()) == 600
        assert repeats(seed) == 0


@ensureDeferred
async def test_a_primary_that_hung_is_not_used_when_it_wakes_up(seed: World, pair: Pair) -> None:
    with processes(seed, 2) as (one, other):
        await one.start()
        await other.start()
        await ticking(seed, pair, one, 600)
        pair.first.freeze()
        pair.second.promote()
        pair.first.go_on()
        await all_sent(seed, pair, 600)
        assert (await server(seed, one))[1]["timeline"] == 2


@ensureDeferred
async def test_two_primaries_on_the_same_timeline_stop_everything(seed: World, pair: Pair) -> None:
    pair.second.stop()
    (pair.second.folder / "data" / "standby.signal").unlink()
    with processes(seed, 1) as (daemon,):
        await daemon.start()
        assert (await server(seed, daemon))[0] == 200
        pair.second.start()
        schedule = seed.direct.schedule()
        seed.subscribe(5, seed.direct.messageset("pregnancy", schedule), schedule)
        path = f"/api/v1/schedule/{schedule}/send/"
        while True:
            status, state, reason = await server(seed, daemon)
            if status == 503 and reason:
                break
            await pause(0.2)
        assert "two servers accept writes on the same timeline" in reason
        assert state["warning"] == reason
        assert (await seed.call("POST", path, at=daemon.url))[0] == 503
        pair.second.stop()
        while (await server(seed, daemon))[0] == 503:
            await pause(0.2)
        assert (await seed.call("POST", path, at=daemon.url))[0] == 202
        await seed.settled()
        assert len(seed.sender) == 5


@ensureDeferred
async def test_a_standby_that_lags_or_hangs_disturbs_nothing(seed: World, pair: Pair) -> None:
    pair.second.value("SELECT pg_wal_replay_pause()::text")
    with processes(seed, 1) as (daemon,):
        await daemon.start()
        schedule = seed.direct.schedule()
        seed.subscribe(100, seed.direct.messageset("pregnancy", schedule), schedule)
        path = f"/api/v1/schedule/{schedule}/send/"
        assert (await seed.call("POST", path, at=daemon.url))[0] == 202
        await seed.settled()
        pair.second.freeze()
        assert (await seed.call("POST", path, at=daemon.url))[0] == 202
        await seed.settled()
        assert len(seed.sender) == 200
        assert await server(seed, daemon) == (200, {"timeline": 1, "changes": 0, "warning": ""}, "")
        # A hung host does not hold up the start, either.
        await daemon.end()
        await daemon.start()
        assert (await server(seed, daemon))[0] == 200
