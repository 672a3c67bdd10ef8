"""Guessing passwords gets slower, and keeps nobody out who has logged in before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sbm.console import throttle
from sbm.console.throttle import FREE, LONGEST_WAIT, Throttle

HOME, OFFICE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Throttle:
    return Throttle(reactor=clock)


def guess(gate: Throttle, clock: Clock, name: str, address: str, times: int = FREE) -> None:
    """So many attempts, each as soon as it may be."""
    for _ in range(times):
        clock.advance(gate.begin(name, address) or 0)


def test_a_few_attempts_are_free_and_then_each_wait_is_longer(gate: Throttle, clock: Clock) -> None:
    waits = []
    for _ in range(20):
        wait = gate.begin("ann", HOME)
        waits.append(wait)
        clock.advance(wait)
        if wait:
            assert gate.begin("ann", HOME) == 0

    assert waits[:FREE] == [0] * FREE
    assert waits[FREE : FREE + 4] == [2, 4, 8, 16]
    assert waits[-1] == LONGEST_WAIT


def test_attempts_at_the_same_time_count_before_they_are_checked(gate: Throttle) -> None:
    free = sum(gate.begin("ann", HOME) == 0 for _ in range(100))

    assert free == FREE


def test_many_names_from_one_address_wait_too(gate: Throttle) -> None:
    waits = [gate.begin(f"name{number}", HOME) for number in range(FREE + 1)]

    assert waits[-1] > 0
    assert gate.begin("ann", OFFICE) == 0


def test_one_name_from_many_addresses_waits_too(gate: Throttle) -> None:
    waits = [gate.begin("ann", f"192.0.2.{number}") for number in range(FREE + 1)]

    assert waits[-1] > 0


def test_a_name_is_the_same_in_capitals(gate: Throttle, clock: Clock) -> None:
    guess(gate, clock, "Ann", HOME)

    assert gate.begin("aNN", OFFICE) > 0


def test_the_addresses_of_one_subscriber_are_one(gate: Throttle) -> None:
    waits = [gate.begin(f"n{number}", f"2001:db8:1:2::{number}") for number in range(FREE + 1)]

    assert waits[-1] > 0
    assert gate.begin("ann", "2001:db8:1:3::1") == 0


def test_no_address_at_all_is_one_too(gate: Throttle) -> None:
    waits = [gate.begin(f"n{number}", "") for number in range(FREE + 1)]

    assert waits[-1] > 0


def test_a_right_password_forgets_the_attempts_of_the_name(gate: Throttle, clock: Clock) -> None:
    guess(gate, clock, "ann", HOME, FREE - 1)
    assert gate.begin("ann", HOME) == 0
    gate.succeed("ann", HOME)

    assert gate.begin("ann", OFFICE) == 0


def test_right_passwords_do_not_slow_an_address_down(gate: Throttle) -> None:
    for _ in range(50):
        assert gate.begin("ann", HOME) == 0
        gate.succeed("ann", HOME)


def test_a_right_password_does_not_free_the_address_for_guesses(gate: Throttle) -> None:
    for number in range(FREE - 1):
        gate.begin(f"n{number}", HOME)
    gate.begin("own", HOME)
    gate.succeed("own", HOME)
    gate.begin("ann", HOME)

    assert gate.begin("ann", HOME) > 0


def test_guesses_from_elsewhere_keep_nobody_out_where_she_has_logged_in(
    gate: Throttle, clock: Clock
) -> None:
    gate.begin("ann", HOME)
    gate.succeed("ann", HOME)
    for number in range(3, 3 + FREE):
        gate.begin("ann", f"192.0.2.{number}")

    assert gate.begin("ann", OFFICE) > 0
    assert gate.begin("ann", HOME) == 0


def test_what_is_remembered_is_bounded(gate: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST", 10)
    for number in range(100):
        gate.begin(f"name{number}", f"192.0.2.{number}")
        gate.succeed(f"other{number}", f"192.0.2.{number}")

    assert len(gate._attempts) <= 10
    assert len(gate._known) <= 10


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.sampled_from([HOME, OFFICE]))))
def test_nobody_waits_longer_than_the_longest(
    attempts: list[tuple[bool, str, str]],
) -> None:
    clock = Clock()
    gate = Throttle(reactor=clock)
    for is_right, name, address in attempts:
        wait = gate.begin(name, address)
        assert 0 <= wait <= LONGEST_WAIT
        if is_right and not wait:
            gate.succeed(name, address)
        clock.advance(1)
