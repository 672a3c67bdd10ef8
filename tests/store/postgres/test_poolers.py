"""Poolers between us and the server: those that keep sessions apart will do, others are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread

from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import migrations
from sbm.store.postgres.database import RECONNECT_SECONDS, Database
from sbm.store.postgres.errors import DatabaseUnavailable, DatabaseUnfit
from sbm.store.postgres.transaction import Transaction
from tests.arrange import Arranged
from tests.store.postgres.database_proxy import reactor
from tests.store.postgres.pooler import Pooler
from tests.store.transactions import COUNT, Ahead, Barrier, ask, insert, together

Pool = Callable[..., Pooler]


@pytest_twisted.async_yield_fixture
async def pool(database_uri: str) -> AsyncIterator[Pool]:
    """Makes poolers in front of the database."""
    made: list[Pooler] = []

    def make(**options: Any) -> Pooler:
        made.append(Pooler(to=DatabaseAddress.parse(database_uri), **options))
        made[-1].open()
        return made[-1]

    yield make
    for pooler in made:
        await pooler.close()


@pytest.fixture
def through(request: Any) -> Callable[..., Database]:
    def make(pooler: Pooler, size: int = 1, by: Any = reactor) -> Database:
        database = Database(reactor=by, address=pooler.address, size=size)
        request.addfinalizer(database.stopService)
        return database

    return make


@pytest.mark.parametrize(
    "options",
    [{}, {"takes_turns": True}, {"size": 1}, {"size": 2}, {"size": 2, "takes_turns": True}],
    ids=str,
)
@ensureDeferred
async def test_a_pooler_in_transaction_mode_is_refused(
    pool: Pool, through: Callable[..., Database], options: dict[str, Any]
) -> None:
    with pytest.raises(DatabaseUnfit, match="pool_mode = session"):
        await through(pool(**options)).transact(ask)


@ensureDeferred
async def test_it_is_refused_as_well_where_its_connections_have_been_used_before(
    pool: Pool, through: Callable[..., Database]
) -> None:
    """Each of them has the settings and the mark of some session of ours by then."""
    pooler, ahead = pool(takes_turns=True, size=3), Ahead()
    database = through(pooler, by=ahead)
    for _ in range(7):
        with pytest.raises(DatabaseUnfit):
            await database.transact(ask)
        ahead.by += RECONNECT_SECONDS


@ensureDeferred
async def test_a_pooler_in_session_mode_will_do(
    pool: Pool, through: Callable[..., Database], direct: Arranged
) -> None:
    database, barrier = through(pool(mode="session"), size=3), Barrier(3)

    async def work(transaction: Transaction) -> tuple[Any, Any]:
        await insert(transaction)
        await barrier.wait()
        return (
            await ask(transaction, "SELECT current_setting('statement_timeout') AS answer"),
            await ask(transaction, "SELECT current_setting('TimeZone') AS answer"),
        )

    assert await together([database.transact(work) for _ in range(3)]) == [("20s", "UTC")] * 3
    assert direct.value(COUNT) == 3


@ensureDeferred
async def test_a_pooler_is_taken_up_as_soon_as_it_is_set_right(
    pool: Pool, through: Callable[..., Database]
) -> None:
    pooler, ahead = pool(), Ahead()
    database = through(pooler, by=ahead)
    with pytest.raises(DatabaseUnfit):
        await database.transact(ask)
    pooler.mode = "session"
    ahead.by = RECONNECT_SECONDS
    assert await database.transact(ask) == 1


@ensureDeferred
async def test_a_pooler_that_has_no_connection_left_is_unavailable_and_not_unfit(
    pool: Pool, through: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In session mode, the second session that tells the modes apart finds no place."""
    monkeypatch.setattr("sbm.store.postgres.connecting.CONNECT_SECONDS", 0.2)
    with pytest.raises(DatabaseUnavailable, match="takes a second connection") as caught:
        await through(pool(mode="session", size=1)).transact(ask)
    assert not isinstance(caught.value, DatabaseUnfit)


@ensureDeferred
async def test_a_pooler_that_hides_is_found_out_before_anything_is_committed(
    pool: Pool, through: Callable[..., Database], direct: Arranged
) -> None:
    """One that shows the server's own pid, or that was set to another mode meanwhile."""
    database, barrier = through(pool(has_own_pids=False), size=2), Barrier(2)

    async def work(transaction: Transaction) -> None:
        await barrier.wait()
        await insert(transaction)

    calls = [database.transact(work) for _ in range(2)]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        await together(calls)
    assert isinstance(caught.value.subFailure.value, DatabaseUnfit)  # type: ignore[attr-defined]
    assert direct.value(COUNT) < 2


@pytest.mark.parametrize("work", [migrations.migrate, migrations.status, migrations.check])
@ensureDeferred
async def test_migrations_refuse_a_pooler_in_transaction_mode(
    pool: Pool, work: Callable[[str], object]
) -> None:
    with pytest.raises(DatabaseUnfit, match="pool_mode = session"):
        await deferToThread(work, pool().address.uri())
    assert await deferToThread(migrations.migrate, pool(mode="session").address.uri()) == ()
