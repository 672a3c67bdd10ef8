"""A database as the store sees it, and as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from tests.store.postgres.database_proxy import DatabaseProxy


@pytest_twisted.async_yield_fixture
async def proxy(database_uri: str) -> AsyncIterator[DatabaseProxy]:
    """A proxy to the same database, with faults."""
    proxy = DatabaseProxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    yield proxy
    await proxy.close()
    proxy.remove()


@pytest.fixture
def through(proxy: DatabaseProxy) -> Iterator[Callable[..., Database]]:
    """Makes databases that are reached through the proxy, unless told another address."""
    made: list[Database] = []

    def make(size: int = 1, address: DatabaseAddress | None = None, by: Any = reactor) -> Database:
        made.append(Database(reactor=by, address=address or proxy.address, size=size))
        return made[-1]

    yield make
    for database in made:
        database.stopService()
