"""The console: in this process for a reader without JavaScript, and as a daemon for a browser.

In-process tests are asynchronous: ``site.reader("people.read")`` logs in, ``get`` and ``submit``
read pages and send forms. Tests with a browser are synchronous: ``browsing.open()`` gives a tab,
and the module says ``pytestmark = pytest.mark.xdist_group("browser")``, so that one process starts
the daemon and the browser for all of them. They share its database: each makes what it changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import pytest_twisted
from attrs import define
from playwright.sync_api import Browser, sync_playwright
from twisted.internet import reactor as global_reactor

from sbm.console import console
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from sbm.web.http.origin import Proxies
from sbm.web.http.passwords import Passwords
from tests.arrange import Arranged, arranged
from tests.console.browsing import (
    CHROMIUM,
    SCHEDULER_TOKEN,
    Browsing,
    Running,
    Tab,
    daemon,
    neighbours,
)
from tests.console.content import ADMIN, MORNING, fill
from tests.console.lost_database import lost
from tests.console.reader import Reader, begin_session
from tests.db.databases import Databases
from tests.web.conftest import Api, served

reactor: Any = global_reactor


# The Identity Store does not know this person, who so gets nothing this morning.
SOMEBODY_WITHOUT_A_NUMBER = """
    INSERT INTO subscriptions (identity, messageset_id, schedule_id, lang)
    VALUES ('7656fa41-0000-4000-8000-000000000099', 1, 1, 'eng_ZA')
"""


@pytest.fixture(scope="session")
def filled_database(databases: Databases, template_database: str) -> str:
    """The name of a database with the content of ``content.fill``, to make copies of."""
    name = f"sbm_console_{uuid4().hex[:12]}"
    with arranged(databases.create(name, template=template_database)) as direct:
        fill(direct)
    return name


@pytest.fixture
def database_uri(databases: Databases, filled_database: str) -> Iterator[str]:
    """A fresh database with content, dropped after the test."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name, template=filled_database)
    databases.drop(name)


@define(eq=False, kw_only=True)
class Served:
    """The site with the API and the console. ``direct`` is its database, behind its back."""

    api: Api
    direct: Arranged
    server_uri: str

    def reader(self, username: str | None = ADMIN, **options: Any) -> Reader:
        """A browser in which this user is logged in; None: nobody."""
        cookies = {}
        if username is not None:
            cookies["sbm-local"] = begin_session(self.direct, username)
        return Reader(client=self.api, cookies=cookies, **options)

    def database_away(self) -> AbstractContextManager[None]:
        """Meanwhile the console cannot reach its database; ``direct`` can."""
        return lost(self.server_uri, self.direct)


def mounted(database: Database, passwords: Passwords, **options: Any) -> console.Console:
    """The console over a database; ``options`` are those of ``build``."""
    given: dict[str, Any] = {
        "proxies": Proxies(()),
        "telemetry": Telemetry(),
        "timezone": ZoneInfo("Africa/Johannesburg"),
        "version": "1.2.3",
        "can_store": True,
        **options,
    }
    return console.build(database=database, passwords=passwords, **given)


@pytest_twisted.async_yield_fixture
async def site(
    database_uri: str, postgres_uri: str, tmp_path: Path, direct: Arranged
) -> AsyncIterator[Served]:
    """The site as it is."""
    async with served(database_uri, tmp_path, mount=mounted) as api:
        yield Served(api=api, direct=direct, server_uri=postgres_uri)


@pytest.fixture
def reader(site: Served) -> Reader:
    """A browser in which the administrator is logged in."""
    return site.reader()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    if not CHROMIUM.exists():
        told = f"there is no {CHROMIUM}: install Debian's package chromium"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-lcd-text"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def running(browser: Browser, databases: Databases, filled_database: str) -> Iterator[Running]:
    """A daemon for the browser. This morning's messages were sent already."""
    name = f"sbm_browser_{uuid4().hex[:12]}"
    uri = databases.create(name, template=filled_database)
    with tempfile.TemporaryDirectory(prefix="sbm-tests-") as folder, arranged(uri) as direct:
        media = Path(folder, "media")
        media.mkdir()
        with neighbours(Path(folder)) as settings:
            environ = {
                "STAGE_BASED_MESSAGING_DATABASE": uri,
                "STAGE_BASED_MESSAGING_URL": "http://sbm.example.org",
                "SCHEDULER_INBOUND_API_TOKEN": SCHEDULER_TOKEN,
                "SBM_MEDIA_ROOT": str(media),
                "SBM_TIMEZONE": "Africa/Johannesburg",
                "SBM_STOP_GRACE_SECONDS": "1",
                **settings,
            }
            with daemon(Path(folder), environ) as url:
                running = Running(
                    url=url,
                    direct=direct,
                    output=Path(folder, "output"),
                    server_uri=databases.uri,
                )
                direct.rows(SOMEBODY_WITHOUT_A_NUMBER)
                running.send(MORNING)
                yield running
    databases.drop(name)


@pytest.fixture
def browsing(browser: Browser, running: Running) -> Iterator[Browsing]:
    """Opens tabs; at the end nothing may have gone wrong in any of them."""
    browsing = Browsing(browser=browser, running=running)
    yield browsing
    problems = browsing.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def tab(browsing: Browsing) -> Tab:
    """A tab in which the administrator is logged in."""
    return browsing.open()
