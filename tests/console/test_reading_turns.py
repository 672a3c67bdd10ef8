"""The reads of pages: a browser that leaves does not leave its statements running."""

from __future__ import annotations

from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred

from sbm.console.reading_turns import ReadingTurns
from sbm.web.http.list_lane import OF_USER


class Reading:
    """Reads that begin, and end when they are told."""

    def __init__(self) -> None:
        self.begun: list[Deferred[int]] = []
        self.turns = ReadingTurns(most=OF_USER + 1)

    async def _work(self) -> int:
        self.begun.append(Deferred())
        return await self.begun[-1]

    def read(self, session_id: int) -> Deferred[int]:
        return Deferred.fromCoroutine(self.turns.read(session_id, self._work))

    def load_and_leave(self, session_id: int) -> None:
        reading = self.read(session_id)
        reading.addErrback(lambda failure: failure.trap(CancelledError))
        reading.cancel()


def test_a_page_that_is_loaded_again_and_again_has_few_reads_under_way() -> None:
    reading = Reading()
    for _ in range(50):
        reading.load_and_leave(1)
    assert len(reading.begun) == OF_USER


@ensureDeferred
async def test_others_read_meanwhile_and_so_does_the_same_session_afterwards() -> None:
    reading = Reading()
    for _ in range(50):
        reading.load_and_leave(1)
    other, again = reading.read(2), reading.read(1)
    assert len(reading.begun) == OF_USER + 1
    reading.begun[-1].callback(7)
    assert await other == 7
    reading.begun[0].callback(1)
    reading.begun[-1].callback(8)
    assert await again == 8


def test_a_read_that_fails_after_its_browser_has_left_frees_its_turn() -> None:
    reading = Reading()
    for _ in range(5):
        for _ in range(OF_USER):
            reading.load_and_leave(1)
        for one in reading.begun:
            one.errback(OSError("away"))
        reading.begun.clear()
    reading.load_and_leave(1)
    assert len(reading.begun) == 1
