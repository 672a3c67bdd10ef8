"""Delays are spread, grow, and have an end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sbm.model.backoff import CAP, FIRST, backoff
from sbm.model.durations import LongestDelay

FAILURES = st.integers(1, 10_000)
DRAWS = st.floats(0, 1)


def longest(failures: int, cap: timedelta = CAP) -> timedelta:
    return backoff(failures, lambda: 1.0, cap=LongestDelay(cap))


@given(failures=FAILURES, draw=DRAWS)
def test_a_delay_lies_between_nothing_and_the_longest(failures: int, draw: float) -> None:
    assert timedelta(0) <= backoff(failures, lambda: draw) <= longest(failures) <= CAP


@given(failures=FAILURES)
def test_the_longest_never_shrinks(failures: int) -> None:
    assert longest(failures) <= longest(failures + 1)


@given(failures=FAILURES)
def test_the_longest_doubles_up_to_the_cap(failures: int) -> None:
    assert longest(failures + 1) == min(2 * longest(failures), CAP)


@given(failures=FAILURES, cap=st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)))
def test_nothing_exceeds_a_cap(failures: int, cap: timedelta) -> None:
    assert longest(failures, cap) <= cap


@given(failures=FAILURES, low=DRAWS, high=DRAWS)
def test_a_greater_draw_is_no_shorter_a_delay(failures: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert backoff(failures, lambda: low) <= backoff(failures, lambda: high)


def test_the_first_failure_costs_a_second_at_most() -> None:
    assert longest(1) == FIRST == timedelta(seconds=1)


@pytest.mark.parametrize("failures", [0, -1])
def test_there_is_no_delay_without_a_failure(failures: int) -> None:
    with pytest.raises(ValueError, match="nothing to wait for"):
        backoff(failures, lambda: 0.5)
