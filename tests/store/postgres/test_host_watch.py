"""The watch of a single host, and of hosts that do not answer; two servers: tests/e2e."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.task import Clock

from sbm.runtime.state_folder import state_path
from sbm.settings.endpoints import DatabaseAddress
from sbm.store import messagesets
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable, WrongServer
from sbm.store.postgres.host_watch import FILE, OTHER_THAN_BEFORE, HostWatch
from sbm.store.postgres.right_server import SAME_TIMELINE
from sbm.store.postgres.seen_servers import SeenServers
from sbm.store.postgres.timelines import FoundServer
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import Telemetry
from tests.arrange import Arranged

reactor: Any = _reactor

Watching = Callable[..., tuple[Database, Telemetry]]


@pytest_twisted.async_yield_fixture
async def watching(database_uri: str, tmp_path: Path) -> AsyncIterator[Watching]:
    """Makes a pool with a watch; ``hosts`` are put before the real one."""
    made: list[tuple[Database, HostWatch]] = []

    def make(*hosts: tuple[str, int]) -> tuple[Database, Telemetry]:
        telemetry, address = Telemetry(), DatabaseAddress.parse(database_uri)
        (real,) = address.hosts
        for host in reversed((*hosts, real)):
            address = address.beginning_with(host)
        watch = HostWatch(reactor=reactor, address=address, telemetry=telemetry, folder=tmp_path)
        database = Database(reactor=reactor, address=address, size=2, watch=watch)
        made.append((database, watch))
        return database, telemetry

    yield make
    for database, watch in made:
        database.stopService()
        await watch.stopService()


def clusters(direct: Arranged) -> tuple[str, int]:
    row = direct.rows(
        "SELECT system_identifier::text AS cluster,"
        " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline"
        " FROM pg_control_system()"
    )[0]
    return row["cluster"], row["timeline"]


@pytest.fixture
def kept(database_uri: str, tmp_path: Path) -> Path:
    """The file in which a daemon keeps the servers that it has seen."""
    address = DatabaseAddress.parse(database_uri)
    (real,) = address.hosts
    return state_path(tmp_path, FILE, about=address.beginning_with(real).title)


def seen(cluster: str, timeline: int) -> str:
    servers = SeenServers(cluster=cluster, timeline=timeline, highest={cluster: timeline})
    return servers.to_json()


async def use(database: Database) -> None:
    await database.transact(messagesets.list_names)


@ensureDeferred
async def test_the_first_daemon_records_where_the_database_is(
    watching: Watching, direct: Arranged, kept: Path
) -> None:
    for _ in range(2):
        database, telemetry = watching()
        await use(database)
        rows = direct.rows("SELECT cluster, timeline FROM timelines")
        assert [tuple(row.values()) for row in rows] == [clusters(direct)]
        assert telemetry.measured("database.timeline") == clusters(direct)[1]
        assert (telemetry.counts["database.server_changes"], telemetry.server_warning) == (0, "")


@ensureDeferred
async def test_a_change_of_the_timeline_is_counted(
    watching: Watching, direct: Arranged, kept: Path
) -> None:
    cluster, _ = clusters(direct)
    kept.write_text(seen(cluster, 0), encoding="utf-8")
    database, telemetry = watching()
    await use(database)
    assert (telemetry.counts["database.server_changes"], telemetry.server_warning) == (1, "")


@pytest.mark.parametrize("where", ["file", "database"])
@ensureDeferred
async def test_another_cluster_is_used_with_a_warning(
    watching: Watching, direct: Arranged, kept: Path, where: str
) -> None:
    if where == "file":
        kept.write_text(seen("another", 5), encoding="utf-8")
    else:
        direct.rows("INSERT INTO timelines (cluster, timeline) VALUES ('another', 5)")
    database, telemetry = watching()
    await use(database)
    assert telemetry.counts["database.server_changes"] == 1
    assert telemetry.server_warning == OTHER_THAN_BEFORE


@pytest.mark.parametrize("where", ["file", "file of other hosts", "database"])
@ensureDeferred
async def test_an_old_primary_is_refused_until_that_is_taken_back(
    watching: Watching, direct: Arranged, kept: Path, where: str
) -> None:
    cluster, timeline = clusters(direct)
    file = kept if where == "file" else state_path(kept.parent, FILE, about="others")
    if where != "database":
        file.write_text(seen(cluster, timeline + 1), encoding="utf-8")
    else:
        direct.rows(
            "INSERT INTO timelines (cluster, timeline) VALUES (%s, %s)", cluster, timeline + 1
        )
    database, telemetry = watching()
    with pytest.raises(WrongServer, match="an old primary"):
        await use(database)
    assert telemetry.measured("database.servers_doubted") == 1
    assert "an old primary" in telemetry.server_warning
    if where != "database":
        file.unlink()
    else:
        direct.rows("DELETE FROM timelines")
    again, telemetry = watching()
    await use(again)
    assert (telemetry.measured("database.servers_doubted"), telemetry.server_warning) == (0, "")


@ensureDeferred
async def test_what_was_seen_is_kept_in_the_folder(
    watching: Watching, direct: Arranged, kept: Path
) -> None:
    kept.write_text(seen("another", 5), encoding="utf-8")
    database, _ = watching()
    await use(database)
    cluster, timeline = clusters(direct)
    while True:
        told = json.loads(kept.read_text(encoding="utf-8"))
        if told["cluster"] == cluster:
            break
        await use(database)
    assert told["highest"] == {"another": 5, cluster: timeline}


@ensureDeferred
async def test_a_host_that_refuses_connections_disturbs_nothing(watching: Watching) -> None:
    database, telemetry = watching(("127.0.0.1", 1))
    await use(database)
    assert (telemetry.counts["database.server_changes"], telemetry.server_warning) == (0, "")


@ensureDeferred
async def test_if_no_host_answers_the_error_names_all(tmp_path: Path) -> None:
    address = DatabaseAddress.parse("postgres://127.0.0.1:1,127.0.0.1:2/nothing")
    watch = HostWatch(reactor=reactor, address=address)
    try:
        with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1.*127\.0\.0\.1:2"):
            await watch.open_connection()
    finally:
        await watch.stopService()


@ensureDeferred
async def test_a_commit_on_a_server_that_was_replaced_meanwhile_is_unknown(
    watching: Watching, direct: Arranged
) -> None:
    database, _ = watching(("127.0.0.1", 1))

    async def work(transaction: Transaction) -> None:
        await messagesets.list_names(transaction)
        server = transaction.server
        assert server is not None
        await _watch_of(database).confirm(server)
        promoted = evolve(server, lineage=(server.timeline + 1, server.lineage[1]))
        with pytest.raises(CommitUnknown):
            await _watch_of(database).confirm(promoted)

    await database.transact(work)


def _watch_of(database: Database) -> HostWatch:
    watch = database._watch
    assert watch is not None
    return watch


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cluster": 1, "timeline": "x", "highest": {}}'])
def test_a_file_that_is_damaged_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"state|Expecting|literal"):
        SeenServers.from_json(text)


@define
class Answers:
    """What a host has answered."""

    place: tuple[str, int]
    server: FoundServer | None
    last_known: FoundServer | None
    has_been_asked: bool = True

    def record(self, server: FoundServer) -> None:
        """Nothing is recorded."""


def test_what_is_wrong_with_two_servers_does_not_end_because_one_is_slow() -> None:
    address = DatabaseAddress.parse("postgres://a,b/sbm")
    watch = HostWatch(reactor=Clock(), address=address)
    found = [
        FoundServer(cluster="7", timeline=2, started_at=host, place=(host, 5432)) for host in "ab"
    ]
    a, b = hosts = [Answers(one.place, one, one) for one in found]
    watch._hosts = list[Any](hosts)
    watch._judge()
    assert watch._judgement.problem == SAME_TIMELINE
    b.server = None  # it is slow
    watch._judge()
    assert watch._judgement.problem == SAME_TIMELINE
    b.last_known = None  # it has refused a connection
    watch._judge()
    assert (watch._judgement.problem, watch._judgement.server) == ("", a.server)
