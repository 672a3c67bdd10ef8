"""A service's absence, and its return."""

from __future__ import annotations

from datetime import timedelta

import pytest
from twisted.internet.task import Clock

from sbm.clients.outcomes import Unavailable
from sbm.model.backoff import CAP
from sbm.pipeline.breaker import TOLERATED, Breaker

NOTHING = timedelta(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """One that always draws the longest pause."""
    return Breaker(service="the service", seconds=clock.seconds, draw=lambda: 1.0)


def test_it_is_closed_at_first(breaker: Breaker) -> None:
    assert (breaker.wait, breaker.is_probing) == (NOTHING, False)


def open_it(breaker: Breaker) -> None:
    for _ in range(TOLERATED):
        breaker.fail(Unavailable("away"))


def test_failures_of_a_few_do_not_open_it(breaker: Breaker) -> None:
    for _ in range(100):
        for _ in range(TOLERATED - 1):
            breaker.fail(Unavailable("odd"))
        breaker.succeed()
    assert (breaker.wait, breaker.is_probing) == (NOTHING, False)


def test_failures_without_a_success_open_it_for_a_while(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    assert breaker.wait == timedelta(seconds=1)
    clock.advance(1)
    assert (breaker.wait, breaker.is_probing) == (NOTHING, True)


def test_calls_that_fail_together_open_it_once(breaker: Breaker) -> None:
    for _ in range(50):
        breaker.fail(Unavailable("away"))
    assert (breaker.openings, breaker.wait) == (1, timedelta(seconds=1))


def test_each_failed_probe_makes_the_pause_longer_up_to_a_cap(
    breaker: Breaker, clock: Clock
) -> None:
    open_it(breaker)
    pauses = [breaker.wait]
    for _ in range(10):
        clock.advance(breaker.wait.total_seconds())
        breaker.fail(Unavailable("away"))
        pauses.append(breaker.wait)
    assert pauses[:4] == [timedelta(seconds=seconds) for seconds in (1, 2, 4, 8)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == CAP


def test_success_closes_it_and_forgets(breaker: Breaker, clock: Clock) -> None:
    open_it(breaker)
    clock.advance(1)
    breaker.fail(Unavailable("away"))
    clock.advance(2)
    breaker.succeed()
    assert (breaker.wait, breaker.is_probing) == (NOTHING, False)
    breaker.fail(Unavailable("away"))
    assert breaker.wait == NOTHING
    open_it(breaker)
    assert breaker.wait == timedelta(seconds=1)


def test_a_late_success_of_a_call_that_was_under_way_does_not_cut_the_pause_short(
    breaker: Breaker,
) -> None:
    breaker.fail(Unavailable("busy", timedelta(seconds=30)))
    breaker.succeed()
    assert breaker.wait == timedelta(seconds=30)


def test_a_late_success_shows_that_the_service_is_there_if_it_asked_for_no_pause(
    breaker: Breaker,
) -> None:
    open_it(breaker)
    breaker.succeed()
    assert (breaker.wait, breaker.is_probing) == (NOTHING, False)


def test_what_would_befall_every_call_opens_it_at_once(breaker: Breaker) -> None:
    breaker.fail(Unavailable("a wrong token", at_once=True))
    assert breaker.wait == timedelta(seconds=1)


def test_it_says_why_it_is_open(breaker: Breaker) -> None:
    breaker.fail(Unavailable("a wrong token", at_once=True))
    assert breaker.reason == "a wrong token"


@pytest.mark.parametrize(("asked", "pause"), [(0, 1), (7, 7), (900_000, 3600)])
def test_the_service_may_ask_for_a_longer_pause_but_not_for_days(
    breaker: Breaker, asked: int, pause: int
) -> None:
    breaker.fail(Unavailable("busy", timedelta(seconds=asked)))
    assert breaker.wait == timedelta(seconds=pause)
