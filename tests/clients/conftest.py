"""A far server, and exchanges with it whose deadline comes when the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_twisted

from sbm.clients.service_client import ServiceClient
from sbm.model.durations import RequestTimeout
from tests.clients.far import Far, ManualReactor


@pytest_twisted.async_yield_fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    far.open()
    yield far
    await far.close()


@pytest.fixture
def manual() -> ManualReactor:
    return ManualReactor()


@pytest_twisted.async_yield_fixture
async def client(far: Far, manual: ManualReactor) -> AsyncIterator[ServiceClient]:
    client = ServiceClient(
        reactor=manual, address=far.address(), timeout=RequestTimeout(timedelta(seconds=30))
    )
    yield client
    await client.stopService()
