"""The transactions of a single send, counted by the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from sbm.daemon import assemble
from sbm.runtime.wakeups import Wakeup
from tests.arrange import Arranged
from tests.e2e.end_to_end import World, reactor
from tests.ports import free_port

TRIGGERS = 10

# Authenticate, owe, claim, settle, and one to spare.
MOST = 5

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops do something only when they are woken."""
    wait = Wakeup.wait

    async def patient(self: Wakeup, _seconds: float) -> None:
        await wait(self, HOUR)

    monkeypatch.setattr(Wakeup, "wait", patient)


@pytest.fixture
def server(database_uri: str) -> Iterator[Arranged]:
    """The same server, seen from another database, so that looking does not count."""
    uri = urlsplit(database_uri)._replace(path="/postgres").geturl()
    with closing(psycopg2.connect(uri)) as connection:
        connection.autocommit = True
        yield Arranged(connection)


async def transactions_of(seed: World, server: Arranged, subscriptions: list[Any]) -> int:
    """How many a daemon makes that is asked for these sends, one after the other."""
    name = seed.direct.value("SELECT current_database() FROM pg_stat_force_next_flush()")
    token = await seed.token()

    def sessions() -> int:
        return int(
            server.value(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = %s AND backend_type = 'client backend'",
                name,
            )
        )

    def transactions() -> int:
        statement = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
        return int(server.value(statement, name))

    await seed.until(lambda: sessions() == 1)
    before = transactions()
    settled: Deferred[None] = Deferred()
    url = f"http://127.0.0.1:{free_port()}"
    daemon: Any = assemble(
        seed.config(),
        reactor,
        listen=[f"tcp:{url.rpartition(':')[2]}:interface=127.0.0.1"],
        listeners=[lambda *_: reactor.callLater(0, settled.callback, None)],
    )
    daemon.privilegedStartService()
    daemon.startService()
    for subscription in subscriptions:
        settled = Deferred()
        path = f"/api/v1/subscriptions/{subscription}/send"
        assert (await seed.call("POST", path, at=url, token=token))[0] == 201
        await settled
    await daemon.stopService()
    # They report what they did when they end.
    await seed.until(lambda: sessions() == 1)
    return transactions() - before


@ensureDeferred
async def test_a_single_trigger_costs_no_more_than_the_transactions_that_do_something(
    seed: World, server: Arranged
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule)
    one, *others = seed.subscribe(2 + TRIGGERS, messageset, schedule)
    alone = await transactions_of(seed, server, [one])
    many = await transactions_of(seed, server, others)
    assert (
        seed.direct.value("SELECT count(*) FROM ledger WHERE outcome = 'sent'") == len(others) + 1
    )
    assert many - alone <= MOST * TRIGGERS
