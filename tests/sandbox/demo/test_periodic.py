"""What is done again every few seconds."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogPublisher

from sbm.sandbox.demo.periodic import Periodic


@define
class Runner:
    """Runs when told to, and does what the test says."""

    waits: Deferred[None] | None = None
    fault: Exception | None = None
    runs: int = 0
    ended: list[str] = field(factory=list)

    async def run(self) -> None:
        self.runs += 1
        try:
            if self.fault is not None:
                raise self.fault
            if self.waits is not None:
                await self.waits
            self.ended.append("well")
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise


def periodic(clock: Clock, runner: Runner, heard: list[Any]) -> Periodic:
    made = Periodic(clock=clock, name="to market", seconds=10, run=runner.run)
    publisher: Any = LogPublisher(heard.append)  # type: ignore[arg-type]
    made._log.observer = publisher
    return made


def test_the_function_is_run_at_once_and_then_every_so_often() -> None:
    clock, runner = Clock(), Runner()
    periodic(clock, runner, []).startService()
    assert runner.runs == 1
    clock.advance(10)
    assert runner.runs == 2


def test_a_function_that_fails_is_logged_and_run_again() -> None:
    clock, runner, heard = Clock(), Runner(fault=ValueError("rain")), []  # type: ignore[var-annotated]
    periodic(clock, runner, heard).startService()
    clock.advance(10)
    assert runner.runs == 2
    assert [event["name"] for event in heard] == ["to market"] * 2


def test_the_function_is_not_begun_again_while_it_is_under_way() -> None:
    clock, runner = Clock(), Runner(waits=Deferred())
    periodic(clock, runner, []).startService()
    clock.advance(10)
    assert runner.runs == 1


def test_stopping_breaks_off_the_run_in_progress_and_says_nothing() -> None:
    clock, runner, heard = Clock(), Runner(waits=Deferred()), []  # type: ignore[var-annotated]
    made = periodic(clock, runner, heard)
    made.startService()
    stopped = made.stopService()
    assert stopped is not None
    assert stopped.called
    clock.advance(10)
    assert runner.ended == ["CancelledError"]
    assert heard == []
