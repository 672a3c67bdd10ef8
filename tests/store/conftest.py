"""A database as the store sees it, and as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from sbm.addresses import DatabaseAddress
from sbm.store.database import Database
from tests.arrange import Arranged, arranged
from tests.store.proxy import Proxy


@pytest.fixture
def database(database_uri: str) -> Iterator[Database]:
    database = Database(reactor, DatabaseAddress.parse(database_uri), 5)
    yield database
    database.stopService()


@pytest.fixture
def behind(database_uri: str) -> Iterator[Arranged]:
    """The same database, behind the store's back."""
    with arranged(database_uri) as behind:
        yield behind


@pytest_twisted.async_yield_fixture
async def proxy(database_uri: str) -> AsyncIterator[Proxy]:
    """A way to the same database on which things go wrong."""
    proxy = Proxy(DatabaseAddress.parse(database_uri))
    proxy.open()
    yield proxy
    await proxy.close()
    proxy.remove()


@pytest.fixture
def through(proxy: Proxy) -> Iterator[Callable[..., Database]]:
    """Makes databases that are reached through the proxy, unless told another address."""
    made: list[Database] = []

    def make(size: int = 1, address: DatabaseAddress | None = None, by: Any = reactor) -> Database:
        made.append(Database(by, address or proxy.address, size))
        return made[-1]

    yield make
    for database in made:
        database.stopService()
