"""A far server, and exchanges with it whose deadline comes when the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_twisted

from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from tests.clients.far import Far, HandWound


@pytest_twisted.async_yield_fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    far.open()
    yield far
    await far.close()


@pytest.fixture
def wound() -> HandWound:
    return HandWound()


@pytest_twisted.async_yield_fixture
async def client(far: Far, wound: HandWound) -> AsyncIterator[ServiceClient]:
    client = ServiceClient(
        reactor=wound, address=far.address(), timeout=RequestTimeout(timedelta(seconds=30))
    )
    yield client
    await client.stopService()
