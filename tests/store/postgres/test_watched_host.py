"""One host, as its server answers, is slow, or goes away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import watched_host
from sbm.store.postgres.watched_host import WatchedHost
from tests.replication import Pair, replicated

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("replication")]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with replicated() as pair:
        yield pair


@pytest.fixture
def host(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedHost]:
    """A host whose name has the addresses of both servers, that of the standby first."""

    async def locate(*_: Any) -> list[dict[str, str]]:
        return [{"host": one.socket_folder} for one in (pair.second, pair.first)]

    monkeypatch.setattr(watched_host, "locate", locate)
    address = DatabaseAddress.parse(pair.first.uri)
    made = WatchedHost(
        reactor=reactor,
        address=address,
        place=("db.example.org", address.hosts[0][1]),
        answered=lambda: None,
    )
    yield made
    made.stop()


async def timeline(host: WatchedHost) -> int | None:
    await host.look()
    assert host.server is not None, host.silence
    return host.server.timeline


@ensureDeferred
async def test_of_a_name_with_several_addresses_the_server_that_accepts_writes_counts(
    pair: Pair, host: WatchedHost
) -> None:
    assert await timeline(host) == 1
    pair.first.stop()
    pair.second.promote()
    await host.look()  # it may only find out that the connection is lost
    assert await timeline(host) == 2


@ensureDeferred
async def test_a_host_that_is_slow_is_remembered_and_one_that_refuses_is_not(
    pair: Pair, host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_host, "ANSWER_SECONDS", 0.5)
    await host.look()
    known = host.server
    assert known is not None
    for node in (pair.first, pair.second):
        node.freeze()
    for _ in range(2):
        await host.look()
        assert (host.server, host.last_known) == (None, known)
    for node in (pair.first, pair.second):
        node.go_on()
        node.stop()
    for _ in range(2):
        await host.look()
    assert (host.server, host.last_known) == (None, None)
