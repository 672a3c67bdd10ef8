"""The PostgreSQL server of a benchmark, and the processor time of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
from attrs import field, frozen

from benchmarks.processes import accepts, free_port, running, until
from sbm.sandbox.account import unprivileged_account
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.store.postgres.migrations import migrate
from tests.db.databases import Databases


@frozen(eq=False, kw_only=True)
class Server:
    """A running server; ``postmaster`` is None if its processes are not on this machine."""

    uri: str
    postmaster: psutil.Process | None
    databases: Databases = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "databases", Databases(self.uri))

    def create(self) -> str:
        """Make an empty database, which is dropped when the server is not needed any more."""
        return self.databases.create(f"sbm_benchmark_{uuid4().hex[:12]}")

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database with our schema, which is dropped at the end; yields its URI."""
        uri = self.create()
        try:
            migrate(uri)
            yield uri
        finally:
            self.databases.drop(uri.partition("?")[0].rpartition("/")[2])

    def cpu_seconds(self) -> float:
        """Seconds of processor time of the whole server until now, with processes that have ended.

        If the server also has databases of others, their time is included.
        """
        if self.postmaster is None:
            raise RuntimeError("the processes of this PostgreSQL are not on this machine")
        while True:
            before = self.postmaster.cpu_times()
            alive = self._of_children()
            after = self.postmaster.cpu_times()
            ended = after.children_user + after.children_system
            # Otherwise, a process ended meanwhile: it would be counted twice, or not at all.
            if alive is not None and ended == before.children_user + before.children_system:
                return float(after.user + after.system + ended + alive)

    def _of_children(self) -> float | None:
        assert self.postmaster is not None
        try:
            times = [one.cpu_times() for one in self.postmaster.children()]
        except psutil.NoSuchProcess:
            return None
        return float(sum(one.user + one.system for one in times))

    def wal_bytes(self) -> int:
        """How many bytes it has written to its log until now."""
        with connected(self.uri) as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            return int(cursor.fetchone()[0])

    def about(self) -> dict[str, str]:
        """Its version and the settings that change a benchmark."""
        with connected(self.uri) as cursor:
            names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
            cursor.execute(
                "SELECT name, current_setting(name) FROM unnest(%s) name", (list(names),)
            )
            found = dict(cursor.fetchall())
            cursor.execute("SELECT inet_server_addr() IS NOT NULL")
            found["connected over"] = "TCP" if cursor.fetchone()[0] else "a unix socket"
        return found


@contextmanager
def connected(uri: str) -> Iterator[Any]:
    """A cursor of a connection of its own, which commits each statement."""
    connection = psycopg2.connect(uri)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """The server of $SBM_TEST_DATABASE, or an embedded one below ``folder``.

    All databases that were made are dropped at the end.
    """
    given = os.environ.get("SBM_TEST_DATABASE")
    if given:
        with _closed(Server(uri=given, postmaster=_postmaster_of(given))) as made:
            yield made
        return
    with _embedded(folder) as made, _closed(made):
        yield made


@contextmanager
def _closed(made: Server) -> Iterator[Server]:
    try:
        yield made
    finally:
        made.databases.close()


@contextmanager
def _embedded(folder: Path) -> Iterator[Server]:
    """Run the embedded server with its own settings, but over TCP, as a daemon reaches one."""
    embedded = EmbeddedPostgres(folder=folder / "postgres")
    # This makes its data directory. By itself, it would listen on a unix socket only.
    embedded.start()
    embedded.stop()
    account, port = unprivileged_account(), free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "on",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    with running(
        [embedded.bin_dir / "postgres", "-D", embedded.data, *options],
        log=folder / "postgres.log",
        environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        ended_by=signal.SIGINT,  # at once, even if clients are connected
        stdin=subprocess.DEVNULL,
        user=account.uid,
        group=account.gid,
        extra_groups=account.groups,
    ) as process:
        uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        until(lambda: accepts(port) and _answers(uri), "PostgreSQL starts")
        yield Server(uri=uri, postmaster=psutil.Process(process.pid))


def _answers(uri: str) -> bool:
    try:
        psycopg2.connect(uri).close()
    except psycopg2.OperationalError:
        return False
    return True


def _postmaster_of(uri: str) -> psutil.Process | None:
    """The process that has started the one which serves us, if it is on this machine."""
    with connected(uri) as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        try:
            backend = psutil.Process(pid)
        except psutil.NoSuchProcess:
            return None
        return backend.parent() if "postgres" in backend.name() else None
