"""What a send of a tick costs, in counts: they do not depend on the machine."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from sbm.clients.http_connection import HttpConnection
from sbm.store.postgres import connection, database
from tests.e2e.end_to_end import World

SENDS = 200

# Of all kinds: to expand the tick, to claim, to settle, and to look for work while it lasts.
MOST_STATEMENTS = 240
# The look-up has about 230 bytes, and the outbound about 590, of which 310 are its keys.
REQUEST_BYTES = 850
# The send as owed, claimed and deleted, the subscription, and the ledger, each with its indexes.
WAL_BYTES = 2600

# The daemon also looks whether earlier messages were delivered, however many it sends.
LOOK = b"GET /api/v1/outbound/?"


@define(eq=False)
class Counted:
    """What was done since it was set to zero."""

    requests: list[int] = field(factory=list)
    connections: int = 0
    statements: int = 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    request, made, run = HttpConnection.request, HttpConnection.connectionMade, connection.run

    def count_request(connection: Any, data: bytes, **options: Any) -> Any:
        if not data.startswith(LOOK):
            counted.requests.append(len(data))
        return request(connection, data, **options)

    def count_connection(connection: Any) -> None:
        counted.connections += 1
        made(connection)

    async def count_statement(*args: Any, **options: Any) -> Any:
        counted.statements += 1
        return await run(*args, **options)

    monkeypatch.setattr(HttpConnection, "request", count_request)
    monkeypatch.setattr(HttpConnection, "connectionMade", count_connection)
    monkeypatch.setattr(database, "run", count_statement)
    return counted


@ensureDeferred
async def test_a_send_costs_two_requests_and_a_part_of_some_statements(
    seed: World, counted: Counted
) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=5)
    seed.subscribe(SENDS, messageset, schedule)
    seed.start(SBM_CONCURRENCY="20")
    await seed.tick(schedule)
    written, statements = [], []
    for _ in range(3):
        counted.requests.clear()
        counted.statements = 0
        before = seed.direct.value("SELECT pg_current_wal_insert_lsn()")
        await seed.tick(schedule)
        written.append(
            seed.direct.value("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before) / SENDS
        )
        statements.append(counted.statements)
        assert len(counted.requests) == 2 * SENDS
        assert sum(counted.requests) / SENDS < REQUEST_BYTES
    # Other sessions of the server write now and then, and a slow machine looks for work more often.
    assert min(written) < WAL_BYTES
    assert min(statements) < MOST_STATEMENTS
    # No more than there are slots, for each of both services, and a few that were idle for long.
    assert counted.connections <= 4 * 2 * 20
