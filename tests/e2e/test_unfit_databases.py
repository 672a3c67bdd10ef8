"""A daemon whose database answers, but cannot be worked with: it waits, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred

from tests.arrange import arranged
from tests.db.databases import Databases
from tests.e2e.daemons import processes
from tests.e2e.end_to_end import A_USER, World, pause
from tests.store.postgres.test_migrations import files


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def other_uri(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """A database of another encoding that has the schema, as an older release made it."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    uri = databases.create(name, encoding=request.param)
    with arranged(uri) as direct:
        for path in files():
            direct.rows(path.read_text(encoding="utf-8"))
    yield uri
    databases.drop(name)


@ensureDeferred
async def test_a_daemon_waits_for_a_database_of_the_right_encoding(
    other_uri: str, database_uri: str, databases: Databases, template_database: str
) -> None:
    with arranged(other_uri) as direct:
        name = direct.value("SELECT current_database()")
    with arranged(database_uri) as elsewhere:
        world = World(other_uri, elsewhere)
        with processes(world, 1) as (daemon,):
            await daemon.start()
            status, health = await world.call("GET", "/api/health/", at=daemon.url)
            assert (status, health["up"]) == (503, False)
            assert "and it must be UTF8" in health["result"]["database_reason"]
            assert "the database cannot be used yet: the database's encoding is" in daemon.output
            databases.drop(name)
            databases.create(name, template=template_database)
            with arranged(other_uri) as direct:
                direct.rows(A_USER)
            while status == 503:
                await pause(0.1)
                status, health = await world.call("GET", "/api/health/", at=daemon.url)
            assert (status, health["result"]["database_reason"]) == (200, "")
            assert "the database can be used again" in daemon.output
            assert await daemon.end() == 0
        await world.stop()
