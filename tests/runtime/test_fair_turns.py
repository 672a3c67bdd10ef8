"""Work in fair turns; how it is read in turns is tested with the connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sbm.runtime.fair_turns import TURN_SECONDS, FairTurns


class Worker:
    """Clients whose work takes all the time of a turn, and in which order it was done."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.turns = FairTurns(reactor=self.clock)
        self.done: list[str] = []

    def come(self, name: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._work(name))

    async def _work(self, name: str) -> None:
        await self.turns.turn(name[0])
        self.done.append(name)
        self.clock.rightNow += TURN_SECONDS

    def next_turn(self) -> list[str]:
        """What is done in it."""
        before = len(self.done)
        calls: Any = self.clock.getDelayedCalls()
        for one in calls:  # and not what comes of them
            work = one.func
            one.cancel()
            work()
        return self.done[before:]


def ignore(_: object) -> None:
    """Nobody waits for it any more."""


def test_what_follows_a_turn_is_work_of_that_turn() -> None:
    worker = Worker()
    for name in ("a1", "a2", "a3", "b1"):
        worker.come(name)
    assert worker.done == []
    assert [worker.next_turn() for _ in range(5)] == [["a1"], ["b1"], ["a2"], ["a3"], []]


def test_who_leaves_before_its_turn_does_not_work() -> None:
    worker = Worker()
    worker.come("a1")
    left = worker.come("a2")
    left.addErrback(lambda failure: ignore(failure.trap(CancelledError)))
    left.cancel()
    worker.come("b1")
    while worker.clock.getDelayedCalls():
        worker.next_turn()
    assert worker.done == ["a1", "b1"]
