"""The first page."""

from __future__ import annotations

import pytest_twisted

from tests.console.conftest import Served
from tests.console.content import ADMIN, PASSWORD
from tests.console.reader import Reader
from tests.e2e.end_to_end import pause


@pytest_twisted.ensureDeferred
async def test_it_is_read(reader: Reader) -> None:
    page = await reader.get("/console/")

    assert page.status == 200
    assert page.heading == "Today"


@pytest_twisted.ensureDeferred
async def test_without_a_session_it_asks_for_the_password_and_leads_back(site: Served) -> None:
    stranger = site.reader(None)

    page = await stranger.get("/console/?done=x")
    assert (page.status, page.place) == (303, "/console/login?next=%2Fconsole%2F%3Fdone%3Dx")
    page = await stranger.submit(
        await stranger.read("/console/"), "Log in", username=ADMIN, password=PASSWORD
    )

    assert (page.status, page.heading) == (200, "Today")


@pytest_twisted.ensureDeferred
async def test_it_says_that_the_database_is_away(site: Served, reader: Reader) -> None:
    with site.database_away():
        page = await reader.get("/console/")

    assert (page.status, page.heading) == (503, "The database is away")
    assert page.header("Retry-After") == "5"
    while page.status == 503:
        await pause(0.05)
        page = await reader.get("/console/")
    assert page.heading == "Today"
