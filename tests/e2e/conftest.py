"""A world for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_twisted

from tests.e2e.end_to_end import World, world


@pytest_twisted.async_yield_fixture
async def seed(database_uri: str) -> AsyncIterator[World]:
    """The Seed services around a daemon, which the test starts."""
    with world(database_uri) as made:
        yield made
        await made.stop()
