"""A connection that is lost during COMMIT, and what is found out about it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import pytest_twisted
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sbm.sandbox.postgres import EmbeddedPostgres
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import commits, connection, migrations
from sbm.store.postgres import database as module
from sbm.store.postgres.commits import CommitStatus, Pending
from sbm.store.postgres.connecting import open_connection
from sbm.store.postgres.connection import Connection, Server, run
from sbm.store.postgres.database import RESTARTS
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable, DatabaseUnfit
from sbm.store.postgres.rows import by_column
from sbm.store.postgres.statements import Query
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged, arranged
from tests.store.postgres.database_proxy import DatabaseProxy, reactor
from tests.store.transactions import COUNT, SOON, ask, insert, query, together

# A trigger that COMMIT itself runs.
AT_COMMIT = """
    CREATE SEQUENCE commits;
    CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON schedules DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit()
"""
WAIT_AT_COMMIT = AT_COMMIT.format(
    "PERFORM set_config('lock_timeout', '0', true); PERFORM pg_advisory_xact_lock(1);"
)
HOLD = "SELECT pg_advisory_lock(1)"
RELEASE = "SELECT pg_advisory_unlock(1)"
END = (
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event = 'advisory'"
)


@define(eq=False)
class Tries:
    """Inserts a row, and counts how often it is asked to."""

    count: int = 0

    async def __call__(self, transaction: Transaction) -> int:
        self.count += 1
        await insert(transaction)
        return self.count


@define(eq=False)
class Looks:
    """The result of each look-up, and an action after the first one."""

    found: list[CommitStatus] = field(factory=list)
    then: Callable[[], object] = bool

    async def look(self, *given: Any) -> CommitStatus:
        fate = await self.ask(*given)
        self.found.append(fate)
        if len(self.found) == 1:
            self.then()
        return fate

    ask = staticmethod(commits.look)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(commits, "look", looks.look)
    return looks


async def once(proxy: DatabaseProxy, fault: str) -> None:
    """Let this go wrong with COMMIT, but only once."""
    setattr(proxy, fault, b"COMMIT")
    await proxy.struck
    setattr(proxy, fault, b"")


# Transactions whose outcome can be found out


@ensureDeferred
async def test_what_was_committed_is_answered_as_if_nothing_had_happened(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    database = through()
    answer, _ = await together([database.transact(Tries()), once(proxy, "stop_after")])
    assert (answer, direct.value(COUNT)) == (1, 1)
    assert await database.transact(ask) == 1
    assert len(proxy.lines) == 2, "the connection that was looked on is used again"


TELLING = Query(
    name="test",
    sql="INSERT INTO schedules (minute) VALUES ('*') RETURNING id,"
    " pg_current_xact_id()::text AS transaction_id, pg_backend_pid() AS pid",
    returns="one",
    tells_transaction=True,
)


@pytest.mark.parametrize(("fault", "number"), [("stop_after", 1), ("stop_before", 2)])
@ensureDeferred
async def test_a_statement_can_tell_the_transaction_to_ask_for(
    through: Any, proxy: DatabaseProxy, direct: Arranged, fault: str, number: int
) -> None:
    async def work(transaction: Transaction) -> int:
        return int((await transaction.one(TELLING, by_column))["id"])

    answer, _ = await together([through().transact(work), once(proxy, fault)])
    assert (answer, direct.value(COUNT)) == (number, 1)
    assert not any(b"if_assigned" in said for said in proxy.queries)


@ensureDeferred
async def test_a_statement_that_tells_of_another_server_process_is_not_committed(
    through: Any, direct: Arranged
) -> None:
    elsewhere = evolve(TELLING, sql=TELLING.sql.replace("pg_backend_pid()", "1"))

    async def work(transaction: Transaction) -> Any:
        return await transaction.one(elsewhere, by_column)

    with pytest.raises(DatabaseUnfit, match="pooler"):
        await through().transact(work)
    assert direct.value(COUNT) == 0


@ensureDeferred
async def test_what_was_not_committed_is_done_again(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    answer, _ = await together([through().transact(Tries()), once(proxy, "stop_before")])
    assert (answer, direct.value(COUNT)) == (2, 1)


@ensureDeferred
async def test_what_is_never_committed_is_given_up_and_known_not_to_be_done(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    tries = Tries()
    proxy.stop_before = b"COMMIT"
    with pytest.raises(DatabaseUnavailable) as caught:
        await through().transact(tries)
    assert not isinstance(caught.value, CommitUnknown)
    assert (tries.count, direct.value(COUNT)) == (RESTARTS + 1, 0)


@pytest.mark.parametrize(("fault", "tries"), [("deaf_after", 1), ("hole_before", 2)])
@ensureDeferred
async def test_a_server_that_falls_silent_during_commit_is_asked_again(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    looks: Looks,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    tries: int,
) -> None:
    """Where the COMMIT has not come, and the server waits for it still, it is not waited for."""
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    answer, _ = await together([through().transact(Tries()), once(proxy, fault)])
    assert (answer, direct.value(COUNT)) == (tries, 1)
    assert looks.found[-1] is (CommitStatus.DONE if tries == 1 else CommitStatus.NOT_DONE)


@pytest.mark.parametrize(("statements", "tries"), [([RELEASE], 1), ([END, RELEASE], 2)])
@ensureDeferred
async def test_a_commit_that_is_held_up_is_asked_about_until_it_ends(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    looks: Looks,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
    tries: int,
) -> None:
    direct.rows(WAIT_AT_COMMIT)
    direct.rows(HOLD)
    looks.then = lambda: [direct.rows(statement) for statement in statements]
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    answer, _ = await together([through().transact(Tries()), once(proxy, "deaf_after")])
    assert looks.found[0] is CommitStatus.OPEN
    assert (answer, direct.value(COUNT)) == (tries, 1)


@ensureDeferred
async def test_a_server_that_comes_back_later_is_asked_then(
    through: Any, proxy: DatabaseProxy, direct: Arranged
) -> None:
    """Several times nobody is there to be asked."""
    proxy.stop_after = b"COMMIT"

    async def go_and_come_back() -> None:
        await proxy.struck
        await proxy.close()
        proxy.stop_before = b"user"
        proxy.open()
        await proxy.struck
        proxy.stop_before = b""

    answer, _ = await together([through().transact(Tries()), go_and_come_back()])
    assert (answer, direct.value(COUNT)) == (1, 1)


@ensureDeferred
async def test_who_has_only_read_is_not_asked_about_and_reads_again(
    through: Any, proxy: DatabaseProxy, looks: Looks
) -> None:
    tries = [0]

    async def work(transaction: Transaction) -> Any:
        tries[0] += 1
        return await ask(transaction, "SELECT count(*) AS answer FROM schedules")

    answer, _ = await together([through().transact(work), once(proxy, "stop_after")])
    assert (answer, tries, looks.found) == (0, [2], [])


# Transactions whose outcome cannot be found out


@ensureDeferred
async def test_while_nobody_can_be_asked_for_too_long_it_is_unknown(
    through: Any, proxy: DatabaseProxy, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", SOON)
    database = through(by=reactor)
    proxy.stop_after = b"COMMIT"

    async def go() -> None:
        await proxy.struck
        await proxy.close()

    gone = Deferred.fromCoroutine(go())
    with pytest.raises(CommitUnknown):
        await database.transact(insert)
    await gone
    assert direct.value(COUNT) == 1


@ensureDeferred
async def test_a_commit_that_is_held_up_for_too_long_is_unknown(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    monkeypatch: pytest.MonkeyPatch,
    looks: Looks,
) -> None:
    direct.rows(WAIT_AT_COMMIT)
    direct.rows(HOLD)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    monkeypatch.setattr(module, "LOOK_SECONDS", SOON)
    database = through()
    struck = Deferred.fromCoroutine(once(proxy, "deaf_after"))
    with pytest.raises(CommitUnknown):
        await database.transact(insert)
    await struck
    assert set(looks.found) == {CommitStatus.OPEN}
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_a_daemon_that_stops_looks_no_longer(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    looks: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    direct.rows(WAIT_AT_COMMIT)
    direct.rows(HOLD)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    database = through()
    looks.then = database.stopService
    proxy.deaf_after = b"COMMIT"
    with pytest.raises(CommitUnknown):
        await database.transact(insert)


@ensureDeferred
async def test_who_stops_waiting_while_it_is_looked_leaves_the_pool_whole(
    through: Any,
    proxy: DatabaseProxy,
    direct: Arranged,
    looks: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    direct.rows(WAIT_AT_COMMIT)
    direct.rows(HOLD)
    monkeypatch.setattr(connection, "SILENCE_SECONDS", SOON)
    database = through()
    call = Deferred.fromCoroutine(database.transact(insert))
    looks.then = lambda: reactor.callLater(0, call.cancel)
    struck = Deferred.fromCoroutine(once(proxy, "deaf_after"))
    with pytest.raises(CancelledError):
        await call
    await struck
    assert await together([database.transact(ask) for _ in range(3)]) == [1, 1, 1]


# Failures that are not a lost COMMIT


@ensureDeferred
async def test_a_commit_that_the_server_refuses_is_not_done_and_costs_no_connection(
    through: Any, proxy: DatabaseProxy, direct: Arranged, looks: Looks
) -> None:
    direct.rows(AT_COMMIT.format("PERFORM pg_advisory_xact_lock(1);"))
    direct.rows(HOLD)
    database = through()

    async def work(transaction: Transaction) -> None:
        await transaction.execute(query("SET LOCAL lock_timeout = '10ms'"))
        await insert(transaction)

    with pytest.raises(DatabaseUnavailable, match="lock timeout") as caught:
        await database.transact(work)
    assert not isinstance(caught.value, CommitUnknown)
    assert await database.transact(ask) == 1
    assert (len(proxy.lines), looks.found, direct.value(COUNT)) == (1, [], 0)


@ensureDeferred
async def test_a_commit_that_loses_against_another_is_begun_again(
    through: Any, direct: Arranged, looks: Looks
) -> None:
    fails = "IF nextval('commits') = 1 THEN RAISE serialization_failure; END IF;"
    direct.rows(AT_COMMIT.format(fails))
    assert await through().transact(Tries()) == 2
    assert (looks.found, direct.value(COUNT)) == ([], 1)


# Servers that crash, and servers that are others


@define(eq=False)
class Crashing:
    """A server that can be killed, and a faulty proxy before it."""

    uri: str
    proxy: DatabaseProxy

    def count(self) -> Any:
        """How many rows there are, once it is up again."""
        while True:
            try:
                with arranged(self.uri) as direct:
                    return direct.value(COUNT)
            except psycopg2.OperationalError:
                pass

    def crash(self) -> None:
        """Kill one of its processes: it ends all others, and recovers from its log.

        Until it has noticed, it accepts connections as before. So another process is a witness.
        """
        with arranged(self.uri) as witness, arranged(self.uri) as direct:
            os.kill(direct.value("SELECT pg_backend_pid()"), signal.SIGKILL)
            with suppress(psycopg2.Error):
                while True:
                    witness.rows("SELECT 1")

    async def connect(self) -> Connection:
        """A connection of ours, once it is up again."""
        while True:
            try:
                return await open_connection(reactor, DatabaseAddress.parse(self.uri))
            except DatabaseUnavailable:
                await deferLater(reactor, 0)


@pytest_twisted.async_yield_fixture
async def crashing() -> AsyncIterator[Crashing]:
    """With asynchronous commits, it writes late: a crash loses the last ones."""
    folder = Path(tempfile.mkdtemp(prefix="sbm-tests-"))
    server = EmbeddedPostgres(
        folder=folder, settings={"fsync": "off", "autovacuum": "off", "wal_writer_delay": "10s"}
    )
    try:
        server.start()
        migrations.migrate(server.uri())
        proxy = DatabaseProxy(DatabaseAddress.parse(server.uri()))
        proxy.open()
        yield Crashing(server.uri(), proxy)
        await proxy.close()
        proxy.remove()
    finally:
        server.stop()
        shutil.rmtree(folder)


async def begun(at: Connection) -> Pending:
    """A transaction that has written, just before its COMMIT."""
    await run(reactor, at, "BEGIN")
    await run(reactor, at, "INSERT INTO schedules (minute) VALUES ('*')")
    pending = await commits.begin(reactor, at)
    assert pending is not None
    return pending


@ensureDeferred
async def test_an_id_that_a_crash_gave_to_another_transaction_is_not_taken_for_ours(
    crashing: Crashing,
) -> None:
    before = await crashing.connect()
    pending = await begun(before)
    crashing.crash()
    after = await crashing.connect()
    assert await commits.look(reactor, after, pending) is CommitStatus.NOT_DONE
    given_away = ""
    with arranged(crashing.uri) as direct:
        while given_away != pending.id:
            direct.rows("INSERT INTO schedules (minute) VALUES ('1')")
            given_away = direct.value("SELECT max(xmin::text::integer)::text FROM schedules")
    assert await commits.look(reactor, after, pending) is CommitStatus.UNTOLD
    for one in (before, after):
        one.close()


@ensureDeferred
async def test_what_a_crash_forgot_is_done_again(crashing: Crashing, through: Any) -> None:
    async def crash() -> None:
        await once(crashing.proxy, "stop_before")
        crashing.crash()

    database = through(address=crashing.proxy.address)
    answer, _ = await together([database.transact(Tries()), crash()])
    assert (answer, crashing.count()) == (2, 1)


@ensureDeferred
async def test_what_was_committed_before_a_crash_is_unknown_and_not_done_again(
    crashing: Crashing, through: Any
) -> None:
    async def crash() -> None:
        await once(crashing.proxy, "stop_after")
        crashing.proxy.stop_before = b"user"
        while not crashing.count():
            await deferLater(reactor, 0)
        crashing.crash()
        crashing.proxy.stop_before = b""

    crashed = Deferred.fromCoroutine(crash())
    with pytest.raises(CommitUnknown):
        await through(address=crashing.proxy.address).transact(insert)
    await crashed
    assert crashing.count() == 1


@pytest.mark.parametrize(
    "server",
    [
        None,
        Server(cluster="another", lineage=(1, 1), life="life"),
        Server(cluster="another", lineage=(1, 1), life=""),
        Server(cluster="", lineage=(1, 1), life="life"),
        Server(cluster="", lineage=(9, 1), life=""),
    ],
)
@ensureDeferred
async def test_another_server_does_not_know_what_became_of_it(
    proxy: DatabaseProxy, server: Server | None
) -> None:
    here = await open_connection(reactor, proxy.to)
    pending = await begun(here)
    await run(reactor, here, "COMMIT")
    assert await commits.look(reactor, here, pending) is CommitStatus.DONE
    assert here.server is not None
    if server is not None:
        server = evolve(
            server,
            cluster=server.cluster or here.server.cluster,
            life=server.life or here.server.life,
        )
    elsewhere = evolve(pending, server=server)
    assert await commits.look(reactor, here, elsewhere) is CommitStatus.UNTOLD
    here.server = None
    assert await commits.look(reactor, here, pending) is CommitStatus.UNTOLD
    here.close()


@ensureDeferred
async def test_what_was_not_done_in_another_life_of_the_server_will_never_be(
    proxy: DatabaseProxy,
) -> None:
    here = await open_connection(reactor, proxy.to)
    pending = await begun(here)
    await run(reactor, here, "ROLLBACK")
    assert pending.server is not None
    elsewhere = evolve(pending, server=evolve(pending.server, life="before"))
    assert await commits.look(reactor, here, elsewhere) is CommitStatus.NOT_DONE
    here.close()
