"""One service above the other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.runtime.services import Parallel, Sequential


@define(eq=False, slots=False)
class RecordedService(Service):
    """Tells when it starts and stops; it stops when ``stopping`` fires, if it has one."""

    name: str
    told: list[str]
    stopping: Deferred[None] | None = None

    def startService(self) -> None:
        self.told.append(f"start {self.name}")

    def stopService(self) -> Deferred[None] | None:
        self.told.append(f"stop {self.name}")
        return self.stopping


def a_stack(*floors: Any) -> Any:
    make: Any = Sequential
    stack = make()
    for floor in floors:
        floor.setServiceParent(stack)
    return stack


def test_services_start_from_the_bottom() -> None:
    told: list[str] = []
    a_stack(
        RecordedService("database", told),
        RecordedService("pipeline", told),
        RecordedService("port", told),
    ).startService()
    assert told == ["start database", "start pipeline", "start port"]


def test_services_stop_from_the_top_each_when_the_one_above_has_stopped() -> None:
    told: list[str] = []
    port, pipeline = Deferred[None](), Deferred[None]()
    stack = a_stack(
        RecordedService("database", told),
        RecordedService("pipeline", told, pipeline),
        RecordedService("port", told, port),
    )
    stopped = stack.stopService()
    assert told == ["stop port"]
    port.callback(None)
    assert told == ["stop port", "stop pipeline"]
    assert not stopped.called
    pipeline.callback(None)
    assert told == ["stop port", "stop pipeline", "stop database"]
    assert stopped.called
    assert not stack.running


@define(eq=False, slots=False)
class Stuck(RecordedService):
    def stopService(self) -> Deferred[None] | None:
        raise RuntimeError("stuck")


def test_one_that_fails_to_stop_does_not_keep_those_below_it() -> None:
    told: list[str] = []
    failing = Deferred[None]()
    failing.errback(RuntimeError("oh"))
    stack = a_stack(
        RecordedService("database", told),
        Stuck("x", told),
        RecordedService("pipeline", told, failing),
    )
    assert stack.stopService().called
    assert told == ["stop pipeline", "stop database"]


def test_when_the_patience_ends_what_is_waited_for_is_broken_off() -> None:
    told: list[str] = []
    clock = Clock()
    make: Any = Sequential
    stack = make(reactor=clock, patience=timedelta(seconds=5))
    floors: list[Any] = [
        RecordedService("c", told),
        RecordedService("b", told, Deferred()),
        RecordedService("a", told, Deferred()),
    ]
    for floor in floors:
        floor.setServiceParent(stack)
    stopped = stack.stopService()
    clock.advance(4.9)
    assert told == ["stop a"]
    clock.advance(0.1)
    assert told == ["stop a", "stop b", "stop c"]
    assert stopped.called
    assert clock.getDelayedCalls() == []


def a_hurried_house(told: list[str], clock: Clock) -> Any:
    """Two floors to settle on, and two of work above them, each of which stops by itself never."""
    make: Any = Sequential
    work = make(
        reactor=clock,
        patience=timedelta(seconds=30),
        services=[
            RecordedService("lease", told, Deferred()),
            RecordedService("delivery", told, Deferred()),
        ],
    )
    return make(
        reactor=clock,
        patience=timedelta(seconds=32),
        rush=timedelta(seconds=2),
        services=[
            RecordedService("database", told),
            RecordedService("settling", told, Deferred()),
            work,
        ],
    )


def test_the_grace_of_the_work_leaves_those_below_it_what_is_theirs() -> None:
    told: list[str] = []
    clock = Clock()
    stopped = a_hurried_house(told, clock).stopService()
    clock.advance(29.9)
    assert told == ["stop delivery"]
    clock.advance(0.1)
    assert told == ["stop delivery", "stop lease", "stop settling"]
    clock.advance(1.9)
    assert not stopped.called
    clock.advance(0.1)
    assert told == ["stop delivery", "stop lease", "stop settling", "stop database"]
    assert stopped.called


def test_hurrying_breaks_off_the_work_at_once_and_leaves_a_little_time_to_settle() -> None:
    told: list[str] = []
    clock = Clock()
    house = a_hurried_house(told, clock)
    stopped = house.stopService()
    clock.advance(10)
    house.hurry()
    clock.advance(0)
    assert told == ["stop delivery", "stop lease", "stop settling"]
    clock.advance(1)
    house.hurry()
    clock.advance(0.9)
    assert not stopped.called
    clock.advance(0.1)
    assert stopped.called
    assert clock.getDelayedCalls() == []


def test_one_that_is_hurried_before_it_is_stopped_hurries_then() -> None:
    told: list[str] = []
    clock = Clock()
    house = a_hurried_house(told, clock)
    house.hurry()
    stopped = house.stopService()
    clock.advance(0)
    assert told == ["stop delivery", "stop lease", "stop settling"]
    clock.advance(2)
    assert stopped.called


def test_one_without_a_patience_hurries_those_in_it() -> None:
    told: list[str] = []
    clock = Clock()
    make: Any = Sequential
    around = make(services=[Parallel(a_hurried_house(told, clock))])
    stopped = around.stopService()
    around.hurry()
    clock.advance(0)
    clock.advance(2)
    assert stopped.called


def test_services_in_a_row_stop_together_and_all_are_waited_for() -> None:
    told: list[str] = []
    slow, quick = Deferred[None](), Deferred[None]()
    row: Any = Parallel(
        RecordedService("slow", told, slow),
        Stuck("x", told),
        RecordedService("quick", told, quick),
        RecordedService("y", told),
    )
    stopped = row.stopService()
    assert told == ["stop y", "stop quick", "stop slow"]
    quick.errback(RuntimeError("oh"))
    assert not stopped.called
    slow.callback(None)
    assert stopped.called
    assert not row.running


def test_a_row_that_is_broken_off_waits_for_none_of_its_services() -> None:
    told: list[str] = []
    clock = Clock()
    make: Any = Sequential
    row = Parallel(RecordedService("a", told, Deferred()), RecordedService("b", told, Deferred()))
    stopped = make(
        reactor=clock, patience=timedelta(seconds=1), services=[RecordedService("c", told), row]
    ).stopService()
    clock.advance(1)
    assert told == ["stop b", "stop a", "stop c"]
    assert stopped.called


# Ports
