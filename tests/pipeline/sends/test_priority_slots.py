"""Single sends get a free slot before those of a tick."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sbm.model.send import Lane
from sbm.pipeline.sends.priority_slots import PrioritySlots


@define(eq=False, slots=False)
class Bench:
    """Work that lasts until the test ends it; ``order`` is who had a turn."""

    slots: PrioritySlots
    order: list[str] = field(factory=list)
    _ends: dict[str, Deferred[None]] = field(factory=dict)

    def begin(self, name: str, lane: Lane = "tick") -> Deferred[None]:
        return Deferred.fromCoroutine(self._work(name, lane))

    async def _work(self, name: str, lane: Lane) -> None:
        await self.slots.take(lane)
        try:
            self.order.append(name)
            self._ends[name] = Deferred()
            await self._ends[name]
        finally:
            self.slots.give_back()

    def end(self, name: str) -> None:
        self._ends.pop(name).callback(None)


def test_single_ones_go_first_and_each_lane_in_its_order() -> None:
    bench = Bench(PrioritySlots(places=1))
    for name in ("tick 1", "tick 2", "tick 3"):
        bench.begin(name)
    for name in ("single 1", "single 2"):
        bench.begin(name, "single")
    for name in ("tick 1", "single 1", "single 2", "tick 2"):
        bench.end(name)
    assert bench.order == ["tick 1", "single 1", "single 2", "tick 2", "tick 3"]


def test_nobody_has_a_turn_beyond_the_places() -> None:
    bench = Bench(PrioritySlots(places=2))
    for name in ("tick 1", "tick 2", "tick 3"):
        bench.begin(name)
    bench.begin("single", "single")
    assert bench.order == ["tick 1", "tick 2"]
    bench.end("tick 2")
    assert bench.order[2:] == ["single"]
    bench.end("single")
    assert bench.order[3:] == ["tick 3"]


def test_who_is_broken_off_while_it_waits_takes_no_turn_of_the_others() -> None:
    bench = Bench(PrioritySlots(places=1))
    bench.begin("1")
    second, third = bench.begin("2"), bench.begin("3")
    second.addErrback(lambda _: None)
    second.cancel()
    bench.end("1")
    assert bench.order == ["1", "3"]
    assert not third.called


def test_who_is_broken_off_in_its_turn_passes_it_on() -> None:
    bench = Bench(PrioritySlots(places=1))
    first = bench.begin("1")
    bench.begin("2")
    first.addErrback(lambda _: None)
    first.cancel()
    assert bench.order == ["1", "2"]


def test_all_who_wait_can_be_turned_away() -> None:
    bench = Bench(PrioritySlots(places=1))
    bench.begin("1")
    waiting = [bench.begin("2"), bench.begin("3", "single")]
    broken_off: list[Failure] = []
    for one in waiting:
        one.addErrback(broken_off.append)
    bench.slots.turn_away()
    assert [failure.type for failure in broken_off] == [CancelledError, CancelledError]
    bench.end("1")
    assert bench.order == ["1"]


def test_a_long_queue_of_work_that_is_over_at_once_is_called_one_by_one() -> None:
    """Called by each other, they would be too many for the stack."""
    slots, done = PrioritySlots(places=1), []

    async def work() -> None:
        await slots.take("tick")
        done.append(1)
        slots.give_back()

    async def wait() -> None:
        await slots.take("tick")
        await first
        slots.give_back()

    first: Deferred[None] = Deferred()
    Deferred.fromCoroutine(wait())
    for _ in range(2000):
        Deferred.fromCoroutine(work())
    first.callback(None)
    assert len(done) == 2000
