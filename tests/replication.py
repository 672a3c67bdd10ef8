"""Two PostgreSQL servers, of which one replicates the other, and can be promoted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
from attrs import define, field

from sbm.sandbox.account import unprivileged_account
from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.store.postgres.migrations import migrate

NAME = "sbm"

# Commits of a primary without a standby are not waited for, and a server starts in a moment.
_SETTINGS: dict[str, str | int] = {
    "max_connections": 100,
    "wal_level": "replica",
    "max_wal_senders": 4,
    "wal_keep_size": "256MB",
    "hot_standby": "on",
    "wal_receiver_timeout": "2s",
    "wal_retrieve_retry_interval": "200ms",
}


@define(eq=False)
class Node:
    """One of the servers, with its own data."""

    folder: Path
    settings: dict[str, str | int] = field(factory=dict)
    _server: EmbeddedPostgres = field(init=False)
    _frozen: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._server = EmbeddedPostgres(folder=self.folder, settings={**_SETTINGS, **self.settings})

    @property
    def socket_folder(self) -> str:
        """The host in a URL: the folder of the socket stays the same."""
        return str(self._server.data)

    @property
    def uri(self) -> str:
        return f"postgresql://postgres@/{NAME}?host={quote(self.socket_folder)}"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self.go_on()
        self._server.stop()

    def copy_from(self, primary: Node) -> None:
        """Become a standby of a server that runs."""
        self.folder.mkdir()
        account = unprivileged_account()
        account.give(self.folder)
        subprocess.run(
            [
                self._server.bin_dir / "pg_basebackup",
                f"--pgdata={self.folder / 'data'}",
                f"--host={primary.socket_folder}",
                "--username=postgres",
                "--checkpoint=fast",
                "--no-sync",
                "--write-recovery-conf",
            ],
            cwd=self.folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            check=True,
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
        # The primary's socket lies in its data.
        (self.folder / "data" / ".s.PGSQL.5432.lock").unlink()

    def value(self, sql: str) -> Any:
        """The first value of a statement on this server."""
        connection = psycopg2.connect(self.uri, connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()[0][0]
        finally:
            connection.close()

    def promote(self) -> None:
        """Return when it accepts writes."""
        assert self.value("SELECT pg_promote()")

    def freeze(self) -> None:
        """SIGSTOP all its processes: connections are accepted, and nobody answers."""
        lines = (self._server.data / "postmaster.pid").read_text().splitlines()
        self._frozen = [int(lines[0])]
        os.kill(self._frozen[0], signal.SIGSTOP)
        children = Path(f"/proc/{lines[0]}/task/{lines[0]}/children").read_text().split()
        for child in map(int, children):
            os.kill(child, signal.SIGSTOP)
            self._frozen.append(child)

    def go_on(self) -> None:
        """SIGCONT."""
        while self._frozen:
            os.kill(self._frozen.pop(), signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the postmaster; its children end by themselves."""
        lines = (self._server.data / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), signal.SIGKILL)
        self._server.stop()


@define(eq=False)
class Pair:
    """A primary and its standby; ``first`` is the first host of the URL."""

    first: Node
    second: Node

    @property
    def uri(self) -> str:
        hosts = f"{self.first.socket_folder},{self.second.socket_folder}"
        return f"postgresql://postgres@/{NAME}?host={quote(hosts, safe='/,')}"

    def has_caught_up(self) -> bool:
        """Whether the standby has all that the primary has."""
        end = self.first.value("SELECT pg_current_wal_lsn()")
        return bool(self.second.value(f"SELECT pg_last_wal_replay_lsn() >= '{end}'"))


@contextmanager
def replicated() -> Iterator[Pair]:
    """Both servers, running, with the schema."""
    # Short, because the path of a socket must be.
    folder = Path(tempfile.mkdtemp(prefix="sbm-pair-", dir="/tmp"))
    folder.chmod(0o755)
    pair = Pair(Node(folder / "a"), Node(folder / "b"))
    try:
        pair.first.start()
        connection = psycopg2.connect(pair.first.uri.replace(f"/{NAME}?", "/postgres?"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {NAME} TEMPLATE template0")
        connection.close()
        migrate(pair.first.uri)
        pair.second.copy_from(pair.first)
        pair.second.start()
        yield pair
    finally:
        pair.first.stop()
        pair.second.stop()
        shutil.rmtree(folder, ignore_errors=True)
