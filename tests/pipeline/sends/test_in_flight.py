"""Leases, counted by this machine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.model.durations import RequestTimeout
from sbm.pipeline.sends.in_flight import InFlight
from sbm.runtime.lease import uptime
from tests.pipeline.fakes import LEASE, a_hand, another_send

TIMEOUT = RequestTimeout(timedelta(seconds=30))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hand(clock: Clock) -> InFlight:
    return a_hand(clock, capacity=3)


def test_the_lease_counts_from_before_the_statement_was_sent(hand: InFlight, clock: Clock) -> None:
    asked_at = hand.uptime()
    clock.advance(7)  # so long took the answer
    held = hand.take(another_send(), asked_at=asked_at)
    assert held.lease_end == asked_at + LEASE.total_seconds()


def test_a_post_begins_only_if_the_lease_outlasts_its_deadline_by_a_second(
    hand: InFlight, clock: Clock
) -> None:
    held = hand.take(another_send(), asked_at=0)
    clock.advance(LEASE.total_seconds() - 31)
    assert hand.outlasts(held, TIMEOUT)
    clock.advance(0.01)
    assert not hand.outlasts(held, TIMEOUT)


def test_a_renewed_lease_counts_from_the_renewing_statement(hand: InFlight, clock: Clock) -> None:
    held = hand.take(another_send(), asked_at=0)
    clock.advance(25)
    hand.renew({held.send.id}, asked_about={held.send.id}, asked_at=20)
    assert held.lease_end == 20 + LEASE.total_seconds()


def test_a_lease_that_was_not_renewed_is_lost_for_good(hand: InFlight) -> None:
    held = hand.take(another_send(), asked_at=0)
    hand.renew(set(), asked_about={held.send.id}, asked_at=0)
    assert not hand.outlasts(held, RequestTimeout(timedelta(0)))


def test_what_was_claimed_while_others_were_renewed_keeps_its_lease(hand: InFlight) -> None:
    old, new = hand.take(another_send(), asked_at=0), hand.take(another_send(), asked_at=5)
    hand.renew({old.send.id}, asked_about={old.send.id}, asked_at=3)
    assert new.lease_end == 5 + LEASE.total_seconds()


def test_what_was_settled_while_it_was_renewed_stays_released(hand: InFlight) -> None:
    held = hand.take(another_send(), asked_at=0)
    hand.release([held.send])
    hand.renew({held.send.id}, asked_about={held.send.id}, asked_at=3)
    assert hand.held == {}


def test_room_is_what_is_free(hand: InFlight) -> None:
    held = [hand.take(another_send(), asked_at=0) for _ in range(3)]
    assert hand.room == 0
    hand.release([held[0].send, held[2].send])
    assert hand.room == 2


def test_releasing_an_older_claim_does_not_let_go_of_a_newer_one(hand: InFlight) -> None:
    first = another_send()
    hand.take(first, asked_at=0)
    newer = hand.take(evolve(first, attempt=2), asked_at=1)
    hand.release([first])
    assert hand.held == {first.id: newer}


def test_emptied_rings_when_the_last_is_released(hand: InFlight) -> None:
    one, two = (hand.take(another_send(), asked_at=0) for _ in range(2))
    emptied = Deferred.fromCoroutine(hand.emptied.wait(100))
    hand.release([one.send])
    assert not emptied.called
    hand.release([two.send])
    assert emptied.called


def test_uptime_goes_on() -> None:
    assert uptime() <= uptime()
