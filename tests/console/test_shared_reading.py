"""What many pages show is read once for all of them."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock

from sbm.console.shared_reading import FRESH_SECONDS, SharedReading


class Source:
    """Counts how often it is read; the first time it fails, if it is to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.reads = 0
        self.fails = fails

    async def read(self) -> int:
        self.reads += 1
        if self.fails and self.reads == 1:
            raise OSError("away")
        return self.reads


@ensureDeferred
async def test_it_is_read_again_only_when_it_is_too_old() -> None:
    clock, source = Clock(), Source()
    shared = SharedReading(reactor=clock, read=source.read)
    assert [await shared.get(), await shared.get()] == [1, 1]
    clock.advance(FRESH_SECONDS)
    assert await shared.get() == 1
    clock.advance(0.1)
    assert await shared.get() == 2


@ensureDeferred
async def test_those_who_come_while_it_is_read_get_the_same() -> None:
    going: Deferred[None] = Deferred()
    reads = []

    async def read() -> int:
        reads.append(1)
        await going
        return len(reads)

    shared = SharedReading(reactor=Clock(), read=read)
    waiting = [Deferred.fromCoroutine(shared.get()) for _ in range(5)]
    going.callback(None)
    assert await gatherResults(waiting) == [1] * 5
    assert len(reads) == 1


@ensureDeferred
async def test_a_slow_one_is_read_once_for_all_who_came_as_it_began() -> None:
    """And once more for all who came later, not for each of them."""
    clock, slow = Clock(), [Deferred[None](), Deferred[None]()]
    reads = []

    async def read() -> int:
        reads.append(1)
        await slow[len(reads) - 1]
        return len(reads)

    shared = SharedReading(reactor=clock, read=read)
    first = [Deferred.fromCoroutine(shared.get()) for _ in range(3)]
    clock.advance(10 * FRESH_SECONDS)
    later = [Deferred.fromCoroutine(shared.get()) for _ in range(3)]
    slow[0].callback(None)
    clock.advance(10 * FRESH_SECONDS)
    slow[1].callback(None)
    assert await gatherResults(first + later) == [1, 1, 1, 2, 2, 2]


@ensureDeferred
async def test_a_failure_is_not_kept() -> None:
    source = Source(fails=True)
    shared = SharedReading(reactor=Clock(), read=source.read)
    with pytest.raises(OSError, match="away"):
        await shared.get()
    assert await shared.get() == 2


@ensureDeferred
async def test_a_reader_who_leaves_does_not_make_others_read_again() -> None:
    going: Deferred[None] = Deferred()
    reads = []

    async def read() -> int:
        reads.append(1)
        await going
        return len(reads)

    shared = SharedReading(reactor=Clock(), read=read)
    first, second = (Deferred.fromCoroutine(shared.get()) for _ in range(2))
    first.addErrback(lambda failure: failure.trap(CancelledError))
    first.cancel()
    third = Deferred.fromCoroutine(shared.get())
    going.callback(None)
    assert await gatherResults([second, third]) == [1, 1]
    assert len(reads) == 1
