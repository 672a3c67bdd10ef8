"""Leases, counted by this machine."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.model.durations import RequestTimeout
from sbm.model.send_pause import PauseScope
from sbm.pipeline.sends.in_flight import InFlight
from sbm.runtime.lease import uptime
from tests.pipeline.fakes import LEASE, another_send, nothing_in_flight

TIMEOUT = RequestTimeout(timedelta(seconds=30))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def in_flight(clock: Clock) -> InFlight:
    return nothing_in_flight(clock, capacity=3)


def test_the_lease_counts_from_before_the_statement_was_sent(
    in_flight: InFlight, clock: Clock
) -> None:
    asked_at = in_flight.uptime()
    clock.advance(7)  # so long took the answer
    held = in_flight.take(another_send(), asked_at=asked_at)
    assert held.lease.end == asked_at + LEASE.total_seconds()


def test_a_post_begins_only_if_the_lease_outlasts_its_deadline_by_a_second(
    in_flight: InFlight, clock: Clock
) -> None:
    held = in_flight.take(another_send(), asked_at=0)
    clock.advance(LEASE.total_seconds() - 31)
    assert not in_flight.obstacle(held, TIMEOUT)
    clock.advance(0.01)
    assert in_flight.obstacle(held, TIMEOUT)


def test_a_renewed_lease_counts_from_the_renewing_statement(
    in_flight: InFlight, clock: Clock
) -> None:
    held = in_flight.take(another_send(), asked_at=0)
    clock.advance(25)
    in_flight.renew({held.send.id}, asked_about={held.send.id}, asked_at=20)
    assert held.lease.end == 20 + LEASE.total_seconds()


def test_a_lease_that_was_not_renewed_is_lost_for_good(in_flight: InFlight) -> None:
    held = in_flight.take(another_send(), asked_at=0)
    in_flight.renew(set(), asked_about={held.send.id}, asked_at=0)
    assert in_flight.obstacle(held, RequestTimeout(timedelta(0)))


def test_after_a_failover_a_post_begins_only_if_the_new_server_renews_the_claim(
    in_flight: InFlight,
) -> None:
    known, lost = (in_flight.take(another_send(), asked_at=0) for _ in range(2))
    in_flight.doubt()
    assert in_flight.obstacle(known, TIMEOUT)
    in_flight.renew({known.send.id}, asked_about={known.send.id, lost.send.id}, asked_at=0)
    assert not in_flight.obstacle(known, TIMEOUT)
    assert in_flight.obstacle(lost, TIMEOUT)


def test_what_was_claimed_while_others_were_renewed_keeps_its_lease(in_flight: InFlight) -> None:
    old, new = (
        in_flight.take(another_send(), asked_at=0),
        in_flight.take(another_send(), asked_at=5),
    )
    in_flight.renew({old.send.id}, asked_about={old.send.id}, asked_at=3)
    assert new.lease.end == 5 + LEASE.total_seconds()


def test_what_was_settled_while_it_was_renewed_stays_released(in_flight: InFlight) -> None:
    held = in_flight.take(another_send(), asked_at=0)
    in_flight.release([held.send])
    in_flight.renew({held.send.id}, asked_about={held.send.id}, asked_at=3)
    assert in_flight.held == {}


def test_room_is_what_is_free(in_flight: InFlight) -> None:
    held = [in_flight.take(another_send(), asked_at=0) for _ in range(3)]
    assert in_flight.room == 0
    in_flight.release([held[0].send, held[2].send])
    assert in_flight.room == 2


def test_releasing_an_older_claim_does_not_let_go_of_a_newer_one(in_flight: InFlight) -> None:
    first = another_send()
    in_flight.take(first, asked_at=0)
    newer = in_flight.take(evolve(first, attempt=2), asked_at=1)
    in_flight.release([first])
    assert in_flight.held == {first.id: newer}


def test_emptied_is_woken_when_the_last_is_released(in_flight: InFlight) -> None:
    one, two = (in_flight.take(another_send(), asked_at=0) for _ in range(2))
    emptied = Deferred.fromCoroutine(in_flight.emptied.wait(100))
    in_flight.release([one.send])
    assert not emptied.called
    in_flight.release([two.send])
    assert emptied.called


def test_uptime_goes_on() -> None:
    assert uptime() <= uptime()


def test_an_answer_that_a_former_server_was_asked_for_gives_no_lease(
    in_flight: InFlight, clock: Clock
) -> None:
    held = in_flight.take(another_send(), asked_at=0)
    clock.advance(1)
    in_flight.doubt()
    in_flight.renew({held.send.id}, asked_about={held.send.id}, asked_at=0.5)
    assert in_flight.obstacle(held, TIMEOUT)
    assert in_flight.obstacle(in_flight.take(another_send(), asked_at=0.5), TIMEOUT)
    in_flight.renew({held.send.id}, asked_about={held.send.id}, asked_at=1)
    assert not in_flight.obstacle(held, TIMEOUT)


def test_what_is_paused_may_not_begin_and_need_not_wait_for_its_turn(
    in_flight: InFlight, clock: Clock
) -> None:
    first = in_flight.take(another_send(send={"schedule_id": 1}), asked_at=0)
    other = in_flight.take(another_send(send={"schedule_id": 2}), asked_at=0)
    first.work = Deferred(lambda turn: turn.callback(None))
    in_flight.withhold([PauseScope(schedule_id=1)])
    assert first.work.called
    assert in_flight.obstacle(first, TIMEOUT) == "schedule 1 is held back"
    assert in_flight.obstacle(other, TIMEOUT) == ""
    # The answer to a claim from before the pause may come after it.
    late = in_flight.take(another_send(send={"schedule_id": 1}), asked_at=0)
    assert in_flight.obstacle(late, TIMEOUT)
    in_flight.withhold([])
    assert in_flight.obstacle(first, TIMEOUT), "it is given back, whatever comes after that"


def test_what_has_its_slot_is_not_cancelled(in_flight: InFlight) -> None:
    """Its look-up must not count as a failure of the service."""
    held = in_flight.take(another_send(), asked_at=0)
    held.work, held.has_slot = Deferred(), True
    in_flight.withhold([PauseScope()])
    assert not held.work.called
    assert in_flight.obstacle(held, TIMEOUT)


def test_nothing_begins_after_its_hours(in_flight: InFlight, clock: Clock) -> None:
    held = in_flight.take(another_send(send={"leaves_for": 10.0}), asked_at=clock.seconds())
    clock.advance(9.9)
    assert in_flight.obstacle(held, TIMEOUT) == ""
    clock.advance(0.2)
    assert in_flight.obstacle(held, TIMEOUT) == "its hours are over"


@pytest.mark.parametrize(
    ("scope", "is_covered"),
    [
        (PauseScope(), True),
        (PauseScope(lane="tick"), True),
        (PauseScope(lane="single"), False),
        (PauseScope(schedule_id=1), True),
        (PauseScope(schedule_id=2), False),
        (PauseScope(messageset_id=1), True),
        (PauseScope(messageset_id=2), False),
        (PauseScope(tick_id=1), True),
        (PauseScope(tick_id=2), False),
        (PauseScope(schedule_id=1, messageset_id=2), False),
    ],
)
def test_a_scope_covers_what_fits_all_its_fields(scope: PauseScope, is_covered: bool) -> None:
    assert scope.covers(another_send(messageset_id=1)) is is_covered
