"""PostgreSQL under Patroni: two nodes in synchronous mode, with the configuration of deploy/."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg2
from attrs import define, field

from tests.chaos.servers import ROOT, eventually
from tests.ports import free_port

CONFIGURATION = ROOT / "deploy" / "patroni" / "patroni.yml"

PASSWORD = "password-of-the-test"
_NAME = "sbm"

# As in production: its sockets lie in a folder of this account, which is the superuser there.
_ACCOUNT = "postgres"

# The lock of a leader that hangs ends after 20 s, and the next one needs a few seconds.
_FAILOVER_SECONDS = 120.0


def programs() -> dict[str, Path]:
    """Patroni, etcd and the folder of PostgreSQL, as Debian installs them; those that are there."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_rewind"))
    found = {"patroni": shutil.which("patroni"), "etcd": shutil.which("etcd")}
    there = {name: Path(path) for name, path in found.items() if path}
    return {**there, **({"postgresql": versions[-1].parent} if versions else {})}


@define(eq=False, kw_only=True)
class PatroniNode:
    """One node: Patroni, and the PostgreSQL that it runs."""

    name: str
    folder: Path
    etcd_port: int
    port: int = field(factory=free_port)
    _api_port: int = field(factory=free_port)
    _running: subprocess.Popen[bytes] | None = None
    _frozen: list[int] = field(factory=list)

    def start(self) -> None:
        """Start Patroni, which starts PostgreSQL."""
        if not self.folder.exists():
            self.folder.mkdir()
            shutil.chown(self.folder, _ACCOUNT, _ACCOUNT)
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            self._running = subprocess.Popen(
                [programs()["patroni"], CONFIGURATION],
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **self._environ()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=_ACCOUNT,
                group=_ACCOUNT,
                extra_groups=[],
            )

    def uri(self, database: str = _NAME, user: str = _NAME) -> str:
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}?connect_timeout=2"

    def ask(self, sql: str, database: str = _NAME, user: str = _NAME) -> Any:
        """The first value of a statement here; None if nobody answers at once."""
        if self._frozen:
            return None
        try:
            connection = psycopg2.connect(
                self.uri(database, user), options="-c statement_timeout=3000"
            )
        except psycopg2.Error:
            return None
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()[0][0] if cursor.description else None
        except psycopg2.Error:
            return None
        finally:
            connection.close()

    def roles(self) -> list[str]:
        """The roles of all nodes, as this one knows them."""
        try:
            with urlopen(f"http://127.0.0.1:{self._api_port}/cluster", timeout=3) as answer:
                return [member["role"] for member in json.load(answer)["members"]]
        except (OSError, ValueError, KeyError):
            return []

    def kill(self) -> None:
        """SIGKILL everything at once, as if the machine had lost its power."""
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._running is not None:
            self._running.wait(60)
        self._running = None

    def freeze(self) -> None:
        """SIGSTOP everything, as if the machine stood still."""
        self._frozen = self._pids()
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT; PostgreSQL runs before Patroni notices that it is no leader any more."""
        while self._frozen:
            with suppress(ProcessLookupError):
                os.kill(self._frozen.pop(), signal.SIGCONT)

    def _pids(self) -> list[int]:
        """Patroni and all below it; PostgreSQL's own processes come last."""
        pids = [] if self._running is None else [self._running.pid]
        with suppress(OSError, ValueError, IndexError):
            pids.append(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        for pid in pids:
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                pids += [int(child) for child in children if int(child) not in pids]
        return pids

    def _environ(self) -> dict[str, str]:
        api, server = f"127.0.0.1:{self._api_port}", f"127.0.0.1:{self.port}"
        return {
            "PATRONI_NAME": self.name,
            "PATRONI_RESTAPI_LISTEN": api,
            "PATRONI_RESTAPI_CONNECT_ADDRESS": api,
            "PATRONI_POSTGRESQL_LISTEN": server,
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": server,
            "PATRONI_POSTGRESQL_DATA_DIR": str(self.folder / "data"),
            "PATRONI_POSTGRESQL_BIN_DIR": str(programs()["postgresql"]),
            "PATRONI_POSTGRESQL_PGPASS": str(self.folder / "pgpass"),
            "PATRONI_SUPERUSER_USERNAME": "postgres",
            "PATRONI_SUPERUSER_PASSWORD": PASSWORD,
            "PATRONI_REPLICATION_USERNAME": "replicator",
            "PATRONI_REPLICATION_PASSWORD": PASSWORD,
            "PATRONI_ETCD_HOSTS": f"127.0.0.1:{self.etcd_port}",
        }


@define(eq=False)
class PatroniCluster:
    """Two nodes and their etcd; a server of the chaos runs, which is never killed as a whole."""

    folder: Path
    can_be_killed: bool = False
    uri: str = ""
    nodes: list[PatroniNode] = field(factory=list)
    resumed: list[float] = field(factory=list)
    _etcd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start everything, and return when the standby is synchronous."""
        if self.nodes:
            return
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.folder.parent.chmod(0o755)
        etcd_port = self._start_etcd()
        self.nodes = [
            PatroniNode(name=name, folder=self.folder / name, etcd_port=etcd_port)
            for name in ("db1", "db2")
        ]
        for node in self.nodes:
            node.start()
        eventually(self._is_synchronous, "a synchronous standby", _FAILOVER_SECONDS)
        leader = self.leader()
        assert leader is not None
        for sql in (
            f"CREATE ROLE {_NAME} LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {_NAME} OWNER {_NAME} ENCODING 'UTF8' TEMPLATE template0",
        ):
            leader.ask(sql, "postgres", "postgres")
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.uri = (
            f"postgresql://{_NAME}:{PASSWORD}@{hosts}/{_NAME}"
            "?target_session_attrs=read-write&connect_timeout=5"
        )

    def leader(self) -> PatroniNode | None:
        """The node that accepts writes; of two, the one on the higher timeline."""
        asked = {
            node: node.ask(
                "SELECT CASE WHEN NOT pg_is_in_recovery() THEN"
                " left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
                "postgres",
                "postgres",
            )
            for node in self.nodes
        }
        writable = {node: timeline for node, timeline in asked.items() if timeline}
        return max(writable, key=writable.__getitem__) if writable else None

    def strike(self, how: Callable[[PatroniNode], None]) -> FailoverWait:
        """Let something happen to the leader, while a standby could replace it."""
        eventually(self._is_synchronous, "a synchronous standby", _FAILOVER_SECONDS)
        leader = self.leader()
        assert leader is not None
        how(leader)
        return FailoverWait(cluster=self, old=leader)

    @property
    def figures(self) -> dict[str, Any]:
        """How long it took until work went on, for each failover."""
        return {"time to resume": ", ".join(f"{seconds:.1f} s" for seconds in self.resumed)}

    def kill(self) -> None:
        raise NotImplementedError("only leaders are killed")

    def stop(self) -> None:
        for node in self.nodes:
            node.go_on()
            node.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait(60)
            self._etcd = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_synchronous(self) -> bool:
        """Whether Patroni would let a standby become the leader."""
        leader = self.leader()
        return leader is not None and "sync_standby" in leader.roles()

    def _start_etcd(self) -> int:
        port, peers = free_port(), free_port()
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
        with (self.folder / "etcd.log").open("wb") as log:
            self._etcd = subprocess.Popen(
                [
                    programs()["etcd"],
                    "--enable-v2",
                    f"--data-dir={self.folder / 'etcd'}",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=default={peer}",
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return port


@define(eq=False, kw_only=True)
class FailoverWait:
    """A failover that is under way: over when work goes on at another leader."""

    cluster: PatroniCluster
    old: PatroniNode
    _since: float = field(factory=time.monotonic)
    _first_seen: int | None = None

    def is_over(self) -> bool:
        """Whether the ledger of the new leader has grown; notes how long that took."""
        took = time.monotonic() - self._since
        if took > _FAILOVER_SECONDS:
            return True
        leader = self.cluster.leader()
        newest = None
        if leader is not None and leader is not self.old:
            newest = leader.ask("SELECT max(id) FROM ledger")
        if newest is None:
            return False
        if self._first_seen is None:
            self._first_seen = newest
        if newest > self._first_seen:
            self.cluster.resumed.append(took)
            return True
        return False


def missing() -> str:
    """What is missing on this machine; empty if nothing is."""
    if os.geteuid() != 0:
        return "root, who may start processes of the account postgres"
    return ", ".join(sorted({"patroni", "etcd", "postgresql"} - programs().keys()))
