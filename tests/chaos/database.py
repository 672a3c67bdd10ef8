"""The PostgreSQL server of a run: one of our own, which can be killed, or one that was given."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

import psycopg2
from attrs import define, field
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from sbm.sandbox.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.arrange import arranged
from tests.chaos.faulty_proxy import Target
from tests.chaos.servers import PATIENCE_SECONDS
from tests.db.databases import with_database

# Commits are durable: the promise of sbm depends on it.
_DURABLE: dict[str, str | int] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": 200,
}


class DatabaseServer(Protocol):
    """The methods that both kinds of servers have."""

    can_be_killed: bool
    uri: str  # of its database, without a proxy

    @property
    def figures(self) -> dict[str, Any]:
        """What the report tells of it."""

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""

    def kill(self) -> None:
        """SIGKILL the postmaster."""

    def stop(self) -> None:
        """Stop it, if we have started it; its data stays."""

    def remove(self) -> None:
        """Delete all data."""


@define(eq=False)
class OwnServer:
    """An embedded server with durable commits."""

    folder: Path
    can_be_killed: bool = True
    uri: str = ""
    _server: EmbeddedPostgres = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._server = EmbeddedPostgres(folder=self.folder, settings=_DURABLE)

    def start(self) -> None:
        """Start it, when the processes that a kill has left have ended."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._server.start()
                break
            except EmbeddedPostgresError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.2)
        self.uri = self._server.uri()

    @property
    def figures(self) -> dict[str, Any]:
        return {}

    def kill(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            pid = int((self._server.data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGKILL)
        self._server.stop()

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        self._server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@define(eq=False)
class GivenServer:
    """A server that was given, and a new database in it."""

    server_uri: str
    can_be_killed: bool = False
    uri: str = ""
    _name: str = field(init=False, factory=lambda: f"sbm_chaos_{uuid4().hex[:12]}")

    def start(self) -> None:
        if not self.uri:
            self._execute("CREATE DATABASE {} TEMPLATE template0")
            self.uri = with_database(self.server_uri, self._name)

    @property
    def figures(self) -> dict[str, Any]:
        return {}

    def kill(self) -> None:
        raise NotImplementedError("a server that was given is not ours to kill")

    def stop(self) -> None:
        """Do nothing: the server goes on."""

    def remove(self) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        connection = psycopg2.connect(self.server_uri)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(sql.Identifier(self._name)))
        connection.close()


def target_of(uri: str) -> Target:
    """The address of a server."""
    parts = parse_dsn(uri)
    host, port = parts.get("host", "localhost"), int(parts.get("port", 5432))
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


def through(uri: str, port: int) -> str:
    """The URI of the same database through a proxy on a port of this machine."""
    parts = parse_dsn(uri)
    account = quote(parts.get("user", ""), safe="")
    if "password" in parts:
        account += ":" + quote(parts["password"], safe="")
    return f"postgres://{account}@127.0.0.1:{port}/{quote(parts['dbname'], safe='')}"


def backends(uri: str) -> list[int]:
    """The server processes of the daemons; none while the server cannot be asked."""
    try:
        with arranged(uri) as direct:
            rows = direct.rows(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
    except psycopg2.Error:
        return []
    return sorted(row["pid"] for row in rows)


def terminate_backends(uri: str, share: float) -> None:
    """Let the server end some of its sessions."""
    chosen = [pid for pid in backends(uri) if random.random() < share]
    if not chosen:
        return
    with suppress(psycopg2.Error), arranged(uri) as direct:
        direct.rows("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", chosen)
