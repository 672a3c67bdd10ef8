"""A database as the store sees it, and as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet import reactor

from sbm.addresses import DatabaseAddress
from sbm.store.database import Database
from tests.arrange import Arranged, arranged


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
