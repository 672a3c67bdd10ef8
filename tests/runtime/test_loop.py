"""Wake-ups and loops."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher

from sbm.runtime.loop import RETRY_SECONDS, Loop
from sbm.runtime.wakeups import Wakeup
from sbm.store.postgres.errors import DatabaseUnavailable


@pytest.fixture
def clock() -> Clock:
    return Clock()


def done(deferred: Deferred[Any] | None) -> bool:
    """Whether it has fired by now."""
    return deferred is not None and bool(deferred.called)


def wait(wakeup: Wakeup, seconds: float = 10) -> Deferred[None]:
    return Deferred.fromCoroutine(wakeup.wait(seconds))


def test_a_wake_up_ends_the_wait_and_its_timer(clock: Clock) -> None:
    wakeup = Wakeup(reactor=clock)
    waited = wait(wakeup)
    assert not done(waited)
    wakeup.wake()
    assert done(waited)
    assert clock.getDelayedCalls() == []


def test_a_wake_up_that_nobody_waits_for_ends_the_next_wait_but_not_the_one_after(
    clock: Clock,
) -> None:
    wakeup = Wakeup(reactor=clock)
    wakeup.wake()
    wakeup.wake()
    assert done(wait(wakeup))
    assert not done(wait(wakeup))


def test_a_wake_up_that_was_waited_for_is_used_up(clock: Clock) -> None:
    wakeup = Wakeup(reactor=clock)
    wait(wakeup)
    wakeup.wake()
    assert not done(wait(wakeup))


def test_a_wait_has_an_end(clock: Clock) -> None:
    wakeup = Wakeup(reactor=clock)
    waited = wait(wakeup, 10)
    clock.advance(9.9)
    assert not done(waited)
    clock.advance(0.1)
    assert done(waited)
    assert not done(wait(wakeup))


def test_a_wake_up_after_the_end_is_kept(clock: Clock) -> None:
    wakeup = Wakeup(reactor=clock)
    wait(wakeup, 1)
    clock.advance(1)
    wakeup.wake()
    assert done(wait(wakeup))


@define(eq=False)
class Passes:
    """Passes whose ends the test decides."""

    under_way: list[Deferred[int]] = field(factory=list)
    count: int = 0

    async def __call__(self) -> int:
        self.count += 1
        made: Deferred[int] = Deferred()
        self.under_way.append(made)
        return await made

    def end(self, found: Any) -> None:
        made = self.under_way.pop()
        if isinstance(found, Exception):
            made.errback(found)
        else:
            made.callback(found)


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def loop(clock: Clock, passes: Passes) -> Loop:
    return Loop(name="test", one_pass=passes, rest=60, reactor=clock)


def test_nothing_happens_before_the_start(loop: Loop, passes: Passes) -> None:
    assert passes.count == 0
    loop.startService()
    assert passes.count == 1


def test_a_pass_that_found_something_is_followed_by_another(loop: Loop, passes: Passes) -> None:
    loop.startService()
    passes.end(1)
    passes.end(7)
    assert passes.count == 3


def test_after_a_pass_that_found_nothing_it_rests(loop: Loop, passes: Passes, clock: Clock) -> None:
    loop.startService()
    passes.end(0)
    assert passes.count == 1
    clock.advance(59)
    assert passes.count == 1
    clock.advance(1)
    assert passes.count == 2


def test_a_wake_up_ends_the_rest(loop: Loop, passes: Passes) -> None:
    loop.startService()
    passes.end(0)
    loop.wakeup.wake()
    assert passes.count == 2


def test_a_wake_up_during_a_pass_is_not_missed(loop: Loop, passes: Passes) -> None:
    loop.startService()
    loop.wakeup.wake()
    passes.end(0)
    assert passes.count == 2


@pytest.mark.parametrize("error", [RuntimeError("oh"), DatabaseUnavailable("away")])
def test_it_survives_a_failure_and_tries_again_soon(
    loop: Loop, passes: Passes, clock: Clock, error: Exception
) -> None:
    loop.startService()
    for count in range(1, 4):
        assert passes.count == count
        passes.end(error)
        assert passes.count == count, "a failure is followed by a rest"
        clock.advance(RETRY_SECONDS)


def test_a_failure_costs_no_longer_rest_than_finding_nothing(clock: Clock, passes: Passes) -> None:
    Loop(name="quick", one_pass=passes, rest=1, reactor=clock).startService()
    passes.end(RuntimeError("oh"))
    clock.advance(1)
    assert passes.count == 2


def test_a_wake_up_ends_the_rest_after_a_failure(loop: Loop, passes: Passes) -> None:
    loop.startService()
    passes.end(RuntimeError("oh"))
    loop.wakeup.wake()
    assert passes.count == 2


@pytest.mark.parametrize("found", [0, 5, RuntimeError("oh")])
def test_stopping_waits_for_the_pass_under_way_and_makes_no_other(
    loop: Loop, passes: Passes, clock: Clock, found: Any
) -> None:
    loop.startService()
    stopped = loop.stopService()
    assert not done(stopped)
    passes.end(found)
    assert done(stopped)
    assert passes.count == 1
    assert clock.getDelayedCalls() == []


def test_stopping_ends_a_rest(loop: Loop, passes: Passes, clock: Clock) -> None:
    loop.startService()
    passes.end(0)
    stopped = loop.stopService()
    assert done(stopped)
    assert clock.getDelayedCalls() == []


def test_who_has_no_patience_breaks_the_pass_off(loop: Loop, passes: Passes) -> None:
    loop.startService()
    stopped = loop.stopService()
    assert stopped is not None
    stopped.cancel()
    assert done(stopped)
    assert passes.count == 1


@pytest.mark.parametrize(
    ("may_be_cut", "is_told"), [(True, False), (False, True)], ids=["cut", "waited for"]
)
def test_a_pass_that_was_cut_fails_in_its_own_way_and_nobody_is_told(
    clock: Clock, may_be_cut: bool, is_told: bool
) -> None:
    """A client makes an error of its own of the end of a call."""
    broken_off: list[Deferred[int]] = []
    told: list[Any] = []

    async def one_pass() -> int:
        call: Deferred[int] = Deferred()
        broken_off.append(call)
        try:
            return await call
        except CancelledError:
            raise RuntimeError("the connection was lost") from None

    publisher: Any = LogPublisher(told.append)  # type: ignore[arg-type]
    loop = Loop(
        reactor=clock,
        name="test",
        one_pass=one_pass,
        rest=60,
        may_be_cut=may_be_cut,
        log=Logger(observer=publisher),
    )
    loop.startService()
    stopped = loop.stopService()
    assert stopped is not None
    stopped.cancel()
    assert done(stopped)
    assert len(broken_off) == 1
    assert bool(told) == is_told


def test_what_was_never_started_is_stopped_at_once(loop: Loop, passes: Passes) -> None:
    assert loop.stopService() is None
    assert passes.count == 0


def test_a_pass_that_was_cancelled_by_somebody_else_ends_no_loop(
    loop: Loop, passes: Passes, clock: Clock
) -> None:
    loop.startService()
    passes.end(CancelledError())
    clock.advance(RETRY_SECONDS)
    assert passes.count == 2


def test_whoever_cancels_the_stop_breaks_the_pass_off(loop: Loop, passes: Passes) -> None:
    loop.startService()
    stopped = loop.stopService()
    assert not done(stopped)
    assert stopped is not None
    stopped.cancel()
    assert done(stopped)
    assert passes.count == 1
