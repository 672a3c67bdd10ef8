"""Credentials that need not be looked up, by a clock that the tests move."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from twisted.internet.task import Clock

from sbm.web.http.credential_guard import (
    FREE,
    MOST,
    REFUSED_SECONDS,
    RIGHT_SECONDS,
    SECONDS_EACH,
    CredentialGuard,
)
from sbm.web.http.http_errors import TooManyGuesses, Unauthenticated

HERE, THERE = "192.0.2.1", "192.0.2.2"
WRONG = Unauthenticated("Invalid token.", kind="wrong-token")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> CredentialGuard:
    return CredentialGuard(reactor=clock)


def guess(guard: CredentialGuard, number: int, address: str = HERE) -> None:
    """Send wrong credentials that nobody has sent before."""
    digest = guard.digest("token", str(number))
    guard.check(digest, address)
    guard.refuse(digest, address, WRONG)


def test_what_was_refused_is_refused_again_for_some_seconds(
    guard: CredentialGuard, clock: Clock
) -> None:
    digest = guard.digest("token", "a")
    guard.check(digest, HERE)
    guard.refuse(digest, HERE, WRONG)
    for _ in range(3):
        with pytest.raises(Unauthenticated) as caught:
            guard.check(digest, THERE)
        assert (caught.value.body, caught.value.kind) == (WRONG.body, WRONG.kind)
    clock.advance(REFUSED_SECONDS)
    guard.check(digest, THERE)


def test_what_was_refused_keeps_nothing_of_its_request(guard: CredentialGuard) -> None:
    digest = guard.digest("token", "a")

    def request() -> weakref.ref[Any]:
        class Body:
            pass

        body = Body()
        try:
            raise Unauthenticated("Invalid token.", kind="wrong-token")
        except Unauthenticated as error:
            guard.refuse(digest, HERE, error)
        return weakref.ref(body)

    body = request()
    gc.collect()
    assert body() is None


def test_each_refusal_is_an_error_of_its_own(guard: CredentialGuard) -> None:
    digest = guard.digest("token", "a")
    guard.refuse(digest, HERE, WRONG)
    errors = set()
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            guard.check(digest, THERE)
        errors.add(caught.value)
    assert len(errors) == 2


def test_an_address_that_guesses_waits(guard: CredentialGuard, clock: Clock) -> None:
    for number in range(FREE):
        guess(guard, number)
    with pytest.raises(TooManyGuesses) as caught:
        guess(guard, FREE)
    assert caught.value.seconds == SECONDS_EACH
    guess(guard, FREE, THERE)
    clock.advance(2 * SECONDS_EACH)
    for number in range(2):
        guess(guard, -1 - number)
    with pytest.raises(TooManyGuesses):
        guess(guard, FREE + 1)


def test_a_client_without_an_address_does_not_wait(guard: CredentialGuard) -> None:
    for number in range(FREE + 1):
        guess(guard, number, "")


def test_whoever_was_right_goes_on_beside_a_guesser(guard: CredentialGuard, clock: Clock) -> None:
    right = guard.digest("token", "right")
    guard.accept(right, HERE)
    for number in range(FREE):
        guess(guard, number)
    guard.check(right, HERE)
    clock.advance(RIGHT_SECONDS - 1)
    for number in range(FREE):
        guess(guard, -1 - number)
    guard.check(right, HERE)
    guard.refuse(right, HERE, WRONG)  # the token was revoked
    clock.advance(REFUSED_SECONDS / 100)
    with pytest.raises(Unauthenticated):
        guard.check(right, HERE)


def test_credentials_are_told_apart(guard: CredentialGuard) -> None:
    told = [("token", "a"), ("password", "a"), ("password", "a", ""), ("password", "", "a")]
    assert len({guard.digest(*one) for one in told}) == len(told)
    assert CredentialGuard(reactor=Clock()).digest("token", "a") != guard.digest("token", "a")


def test_a_flood_does_not_fill_the_memory(guard: CredentialGuard) -> None:
    for number in range(MOST + 10):
        digest = guard.digest("token", str(number))
        guard.refuse(digest, f"address {number}", WRONG)
        guard.accept(guard.digest("right", str(number)), f"address {number}")
    assert len(guard._refused) == len(guard._right) == len(guard._addresses) == MOST


def test_an_address_with_right_credentials_is_known_for_a_while(
    guard: CredentialGuard, clock: Clock
) -> None:
    guess(guard, 1, HERE)
    assert not guard.knows(HERE)
    guard.accept(guard.digest("token", "right"), HERE)
    assert (guard.knows(HERE), guard.knows(THERE)) == (True, False)
    clock.advance(RIGHT_SECONDS)
    assert not guard.knows(HERE)
