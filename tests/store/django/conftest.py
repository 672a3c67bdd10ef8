"""Two databases: the old service's, and an empty one of ours."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from attrs import frozen

from tests.arrange import Arranged, arranged
from tests.db.databases import Databases
from tests.store.django import old as old_database


@frozen
class Old:
    """The old database: where it is, and what is in it."""

    uri: str
    behind: Arranged


@pytest.fixture
def empty_old(databases: Databases) -> Iterator[Old]:
    """A database in which there is not a table yet."""
    name = f"sbm_test_old_{uuid4().hex[:12]}"
    uri = databases.create(name)
    with arranged(uri) as behind:
        yield Old(uri, behind)
    databases.drop(name)


@pytest.fixture
def old(empty_old: Old) -> Old:
    """The newest release, and a little of everything in it."""
    old_database.make(empty_old.behind)
    old_database.fill(empty_old.behind)
    return empty_old
