"""Places are given to those who wait, however many there are."""

from __future__ import annotations

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from sbm.runtime.places import Places
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction

MANY = 5000


async def at_once(places: Places, done: list[int], number: int) -> None:
    async with places:
        done.append(number)


def test_thousands_whose_work_ends_at_once_have_their_turn_in_order() -> None:
    places = Places(2)
    for _ in range(2):
        places.acquire()
    done: list[int] = []
    waiting = [Deferred.fromCoroutine(at_once(places, done, one)) for one in range(MANY)]
    places.release()
    assert done == list(range(MANY))
    assert all(one.called for one in waiting)
    places.release()
    assert (places.tokens, places.waiting) == (2, [])


def test_whoever_comes_again_waits_behind_the_others() -> None:
    places = Places(1)
    places.acquire()
    done: list[int] = []

    async def twice(number: int) -> None:
        for _ in range(2):
            await at_once(places, done, number)

    waiting = [Deferred.fromCoroutine(twice(one)) for one in range(3)]
    places.release()
    assert all(one.called for one in waiting)
    assert done == [0, 1, 2, 0, 1, 2]
    assert places.tokens == 1


def test_whoever_waits_no_more_gets_no_place() -> None:
    places = Places(1)
    places.acquire()
    gone, next_one = places.acquire(), places.acquire()
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    gone.cancel()
    places.release()
    assert next_one.called
    assert places.tokens == 0


@ensureDeferred
async def test_no_connection_is_lost_when_many_are_refused_at_once(database: Database) -> None:
    held: Deferred[None] = Deferred()

    async def hold(_transaction: Transaction) -> None:
        await held

    async def refuse(_transaction: Transaction) -> None:
        raise LookupError

    async def one(work: Any) -> str:
        try:
            await database.transact(work)
        except Exception as error:
            return type(error).__name__
        return "done"

    holding = [Deferred.fromCoroutine(one(hold)) for _ in range(database.size)]
    refused = [Deferred.fromCoroutine(one(refuse)) for _ in range(1000)]
    held.callback(None)
    assert await gatherResults(holding) == ["done"] * database.size
    assert set(await gatherResults(refused)) == {"LookupError"}
    assert database._permits.tokens == database.size
