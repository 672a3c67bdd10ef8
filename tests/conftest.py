"""The fixtures of all tests: a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from uuid import uuid4

import greenlet
import psycopg2
import pytest
from hypothesis import settings
from twisted.internet import reactor

from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from tests.arrange import Arranged, arranged
from tests.db.databases import Databases

# Nothing that a test commits has to outlive its server.
_SETTINGS: dict[str, str | int] = {
    "max_connections": 200,
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "max_wal_size": "128MB",
}

# In memory, where there is enough of it: making a database for each test is most of the time.
_MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a name of its own is made in it)
_ENOUGH_BYTES = 2 * 2**30

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile("default")


# Seconds: a test that waits for ever would take the whole run with it. A slow one has more, as it
# is the first to suffer where others are at work.
_PATIENCE = 180
_PATIENCE_SLOW = 600

_interrupted: list[greenlet.greenlet] = []


def pytest_configure() -> None:
    """Let Ctrl-C and SIGTERM end a run with everything taken down."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    # The reactor installs its own handler of SIGTERM when it first runs.
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, _interrupt)
    # A process inherits what is ignored, but no handlers: what nohup or a shell's background makes
    # this one ignore, those that tests start must hear.
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin what takes long first, when the order has been shuffled."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("long") is None,
            item.get_closest_marker("slow") is None,
        )
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that hangs, and end the run: what it left behind would fail the others."""
    is_slow = item.get_closest_marker("slow") is not None
    patience = _PATIENCE_SLOW if is_slow else _PATIENCE
    if item.config.getoption("--hypothesis-profile") == "long":
        patience *= 10  # as there are many more examples
    signal.alarm(0 if item.get_closest_marker("long") else patience)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        if _interrupted:
            item.session.shouldstop = "a test was interrupted"


@pytest.hookimpl(wrapper=True)
def pytest_unconfigure() -> Generator[None, object, object]:
    """See the reactor to its end, from which what an interrupted test left behind may distract."""
    result = yield
    for reactors in _interrupted:
        while not reactors.dead:
            reactors.switch()
    return result


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt pytest itself, and then the reactor's greenlet, in which tests run.

    The reactor alone would log the interruption as an error and go on. Between it and what is
    interrupted there may be a greenlet that a test made.
    """
    alarm = number == signal.SIGALRM
    interruption = TimeoutError("not done in time") if alarm else KeyboardInterrupt()
    here = greenlet.getcurrent()
    while here.parent is not None and here.parent.parent is not None:
        here = here.parent
    if here.parent is not None:
        _interrupted.append(here)
        here.parent.throw(interruption)
    raise interruption


def _fast_folder() -> Path | None:
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
        return _MEMORY
    return None


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A server on which databases may be made: $SBM_TEST_DATABASE, or one of our own."""
    given = os.environ.get("SBM_TEST_DATABASE")
    if given:
        yield given
        return
    # Not below pytest's own directory, which pytest closes to the server's account.
    folder = Path(tempfile.mkdtemp(prefix="sbm-tests-", dir=_fast_folder()))
    server = EmbeddedPostgres(folder=folder, settings=_SETTINGS)
    try:
        server.start()
        yield server.uri()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def databases(postgres_uri: str) -> Iterator[Databases]:
    """The object that makes and drops the databases of this run."""
    try:
        databases = Databases(postgres_uri)
    except psycopg2.OperationalError as error:
        pytest.exit(f"no database for the tests: {error}", returncode=3)
    try:
        yield databases
    finally:
        databases.close()


@pytest.fixture(scope="session")
def template_database(databases: Databases) -> str:
    """The name of a database with all migrations applied, to make copies of."""
    from sbm.store.postgres.migrations import migrate

    name = f"sbm_template_{uuid4().hex[:12]}"
    migrate(databases.create(name))
    return name


@pytest.fixture
def database_uri(databases: Databases, template_database: str) -> Iterator[str]:
    """A fresh database with the schema and nothing in it, dropped after the test."""
    name = f"sbm_test_{uuid4().hex[:12]}"
    yield databases.create(name, template=template_database)
    databases.drop(name)


@pytest.fixture
def database(database_uri: str) -> Iterator[Database]:
    """The same database, as the store sees it."""
    database = Database(reactor=reactor, address=DatabaseAddress.parse(database_uri), size=5)
    yield database
    database.stopService()


@pytest.fixture
def direct(database_uri: str) -> Iterator[Arranged]:
    """The same database, read and written without the store."""
    with arranged(database_uri) as direct:
        yield direct
