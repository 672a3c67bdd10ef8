"""Deadlines of many Deferreds, with one timer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from sbm.runtime.deadlines import Deadlines


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Deadlines:
    return Deadlines(reactor=clock, patience=timedelta(seconds=10))


def begun(deadlines: Deadlines) -> tuple[Deferred[Any], list[Any]]:
    work: Deferred[Any] = Deferred()
    ends: list[Any] = []
    work.addBoth(ends.append)
    deadlines.add(work)
    return work, ends


def test_each_is_cancelled_at_its_own_deadline(clock: Clock, deadlines: Deadlines) -> None:
    first, first_ends = begun(deadlines)
    clock.advance(4)
    second, second_ends = begun(deadlines)
    clock.advance(5.9)
    assert (first_ends, second_ends) == ([], [])
    clock.advance(0.1)
    assert first_ends[0].check(CancelledError)
    assert not second_ends
    clock.advance(4)
    assert second_ends[0].check(CancelledError)
    assert not deadlines.remove(first)
    assert not deadlines.remove(second)
    assert clock.getDelayedCalls() == []


def test_what_was_removed_is_not_cancelled(clock: Clock, deadlines: Deadlines) -> None:
    work, ends = begun(deadlines)
    assert deadlines.remove(work)
    clock.advance(20)
    assert ends == []
    assert clock.getDelayedCalls() == []


def test_there_is_one_timer_for_all(clock: Clock, deadlines: Deadlines) -> None:
    for _ in range(100):
        begun(deadlines)
        clock.advance(0.1)
    assert len(clock.getDelayedCalls()) == 1


def test_one_that_begins_when_another_is_cancelled_has_its_whole_time(
    clock: Clock, deadlines: Deadlines
) -> None:
    work, _ = begun(deadlines)
    later: list[Any] = []
    work.addBoth(lambda _: later.append(begun(deadlines)))
    clock.advance(10)
    ((_, ends),) = later
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(9.9)
    assert ends == []
    clock.advance(0.1)
    assert ends[0].check(CancelledError)


def test_one_that_is_removed_when_another_is_cancelled_is_not_cancelled(
    clock: Clock, deadlines: Deadlines
) -> None:
    first, _ = begun(deadlines)
    second, ends = begun(deadlines)
    first.addBoth(lambda _: deadlines.remove(second))
    clock.advance(10)
    assert ends == []


def test_a_clock_that_is_set_back_delays_no_deadline_of_what_begins_later(
    clock: Clock, deadlines: Deadlines
) -> None:
    begun(deadlines)
    clock.rightNow = -3600.0
    _, ends = begun(deadlines)
    clock.advance(10)
    assert ends[0].check(CancelledError)
    assert clock.getDelayedCalls() == []


def test_an_error_of_one_that_is_cancelled_keeps_no_other_from_its_deadline(
    clock: Clock, deadlines: Deadlines
) -> None:
    def refuse(_: Deferred[Any]) -> None:
        raise ValueError("no")

    deadlines.add(Deferred(refuse))
    _, ends = begun(deadlines)
    with pytest.raises(ValueError, match="no"):
        clock.advance(10)
    clock.advance(0)
    assert ends[0].check(CancelledError)
