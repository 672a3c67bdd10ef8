"""The database goes away in the middle of the work, and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import cycle

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import commits, connecting, connection, notifications
from sbm.store.postgres import database as module
from tests.arrange import arranged
from tests.e2e.end_to_end import World, pause
from tests.e2e.gates import gated
from tests.store.postgres.database_proxy import DatabaseProxy
from tests.store.transactions import SOON


@pytest_twisted.async_yield_fixture
async def proxy(database_uri: str) -> AsyncIterator[DatabaseProxy]:
    """The proxy between the daemons and their database."""
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    yield proxy
    await proxy.close()
    proxy.remove()


@pytest_twisted.async_yield_fixture
async def seed(proxy: DatabaseProxy, database_uri: str) -> AsyncIterator[World]:
    """A world whose daemons are far from their database."""
    with arranged(database_uri) as direct:
        made = World(proxy.address.uri(), direct)
        yield made
        proxy.recover()
        if proxy.port is None:
            proxy.open()
        await made.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons that notice silence sooner than they should, so that the tests end."""
    for where, name in (
        (connecting, "CONNECT_SECONDS"),
        (connection, "SILENCE_SECONDS"),
        (module, "PROMPT_SECONDS"),
        (commits, "PROMPT_SECONDS"),
        (notifications, "PROMPT_SECONDS"),
        (notifications, "CHECK_SECONDS"),
    ):
        monkeypatch.setattr(where, name, SOON)


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.usefixtures("impatient")
@ensureDeferred
async def test_what_is_in_flight_while_the_database_is_away_is_settled_once_when_it_is_back(
    seed: World, proxy: DatabaseProxy, is_silent: bool
) -> None:
    schedule = seed.direct.schedule()
    mothers = seed.subscribe(60, seed.direct.messageset("pregnancy", schedule), schedule)
    gates = await gated(seed)
    answers = gates.only("answer")
    seed.start(SBM_CONCURRENCY="10")
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.until(lambda: len(answers.waiting) == 10)
    if is_silent:
        proxy.fall_silent()
    else:
        await proxy.close()
    answers.open()
    path = f"/api/v1/subscriptions/{mothers[0]}/"
    for _ in range(3):
        status, said = await seed.call("GET", path)
        assert (status, list(said)) == (503, ["detail"])
    # Claimed sends go out without the database, and their results wait in the daemon.
    sent = len(seed.sender)
    assert 10 <= sent < len(mothers)
    assert seed.direct.ledger() == []
    if is_silent:
        proxy.recover()
    else:
        proxy.open()
    await seed.settled()
    assert len(seed.received()) == len(seed.sender) == len(mothers)
    ledger = seed.direct.ledger()
    assert {(entry["outcome"], entry["attempts"]) for entry in ledger} == {("sent", 1)}
    assert len(ledger) == len(mothers)
    numbers = seed.direct.rows("SELECT DISTINCT next_sequence_number AS next FROM subscriptions")
    assert [row["next"] for row in numbers] == [2]
    assert (await seed.call("GET", path))[0] == 200
    assert seed.direct.unbalanced_ticks() == []


@pytest.mark.usefixtures("impatient")
@ensureDeferred
async def test_commits_may_be_lost_all_the_time(seed: World, proxy: DatabaseProxy) -> None:
    """Of ticks, claims, renewals and results alike; no send is held up as unknown by it."""
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    mothers = seed.subscribe(60, messageset, schedule)
    seed.start(SBM_CONCURRENCY="2")
    losing = Deferred.fromCoroutine(_lose_commits(proxy))
    assert (await seed.call("POST", f"/api/v1/schedule/{schedule}/send/"))[0] == 202
    await seed.settled()
    losing.addErrback(lambda failure: failure.trap(CancelledError)).cancel()
    proxy.stop_before = proxy.stop_after = proxy.hole_before = proxy.deaf_after = b""
    assert proxy.hits > 10
    assert len(seed.received()) == len(seed.sender) == len(mothers)
    ledger = seed.direct.ledger()
    assert [entry["outcome"] for entry in ledger] == ["sent"] * len(mothers)
    assert seed.direct.unbalanced_ticks() == []


async def _lose_commits(proxy: DatabaseProxy) -> None:
    """Every other COMMIT goes wrong, each time in another way."""
    for fault in cycle(["stop_before", "stop_after", "stop_after", "hole_before", "deaf_after"]):
        setattr(proxy, fault, b"COMMIT")
        await proxy.struck
        setattr(proxy, fault, b"")
        await pause(0.02)
