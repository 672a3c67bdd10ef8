"""Claiming as much as can be carried."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from sbm.clients.outcomes import Unavailable
from sbm.model.durations import RequestTimeout
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.claimer import A_FEW, LOOK_SECONDS, Claimer
from sbm.pipeline.sends.delivery import Blames
from sbm.runtime.time_slices import SECONDS
from sbm.runtime.wakeups import Wakeup
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import CommitUnknown, DatabaseUnavailable
from tests.arrange import Arranged
from tests.pipeline.fakes import LEASE, Begun, BreakableDatabase, Service, nothing_in_flight

# Asked for by the service itself, so it opens the breaker at once.
AWAY = Unavailable("away", timedelta(0))


@define(eq=False, slots=False)
class Bench:
    """Claiming from a real database, by a clock that the test moves."""

    database: Database
    direct: Arranged

    def __attrs_post_init__(self) -> None:
        self.clock = Clock()
        self.in_flight = nothing_in_flight(self.clock, capacity=10, spare=2)
        self.line = BreakableDatabase(self.database)
        self.begun = Begun(clock=self.clock)
        self.breakers = tuple(
            Breaker(service=name, seconds=self.clock.seconds, draw=lambda: 1.0) for name in "ab"
        )
        self.blames = Blames(
            *(
                Blame(breaker=breaker, seconds=self.clock.seconds, is_well=Service("").is_well)
                for breaker in self.breakers
            )
        )
        make: Any = Claimer
        self.wakeup = Wakeup(reactor=self.clock)
        self.claimer = make(
            reactor=self.clock,
            database=self.line,
            gated=self.line,
            in_flight=self.in_flight,
            delivery=self.begun,
            blames=self.blames,
            wakeup=self.wakeup,
        )

    async def owe(self, count: int, name: str = "pregnancy") -> None:
        schedule = self.direct.schedule()
        self.direct.subscriptions(count, self.direct.messageset(name, schedule), schedule)
        await self.database.transact(ticks.open_tick, schedule_id=schedule)
        await self.database.transact(ticks.expand, limit=1000)

    async def owe_single(self, count: int) -> None:
        schedule = self.direct.schedule()
        for one in self.direct.subscriptions(
            count, self.direct.messageset("one", schedule), schedule
        ):
            await self.database.transact(sends.owe, subscription_id=one)

    def let_go(self, count: int) -> None:
        self.in_flight.release([held.send for held in list(self.in_flight.held.values())[:count]])

    def states(self) -> dict[str, int]:
        rows = self.direct.rows("SELECT state, count(*) FROM sends GROUP BY state")
        return {row["state"]: row["count"] for row in rows}


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_what_is_claimed_is_held_and_begun(bench: Bench) -> None:
    await bench.owe(3)
    bench.clock.advance(100)
    assert await bench.claimer.claim() == 3
    assert bench.begun.held == list(bench.in_flight.held.values())
    assert {held.lease.end for held in bench.begun.held} == {100 + LEASE.total_seconds()}
    assert await bench.claimer.claim() == 0


async def claiming_slowly(bench: Bench) -> Deferred[int]:
    """A claim of three sends, of which the first one has begun."""
    await bench.owe(3)
    bench.begun.takes = SECONDS
    claiming = Deferred.fromCoroutine(bench.claimer.claim())
    while not bench.begun.held:
        await deferLater(bench.database.reactor, 0.01)
    assert len(bench.begun.held) == 1
    assert len(bench.in_flight.held) == 3  # so that all leases are renewed
    return claiming


@ensureDeferred
async def test_deliveries_that_take_long_to_begin_leave_turns_to_others(bench: Bench) -> None:
    claiming = await claiming_slowly(bench)
    bench.clock.advance(0)
    assert await claiming == 3
    assert bench.begun.held == list(bench.in_flight.held.values())


@ensureDeferred
async def test_a_claimer_that_is_stopped_begins_what_it_holds(bench: Bench) -> None:
    """Then the deliveries give it back."""
    claiming = await claiming_slowly(bench)
    claiming.cancel()
    with pytest.raises(CancelledError):
        await claiming
    assert bench.begun.held == list(bench.in_flight.held.values())


@ensureDeferred
async def test_many_of_a_tick_begin_in_the_turn_after_the_one_in_which_they_were_read(
    bench: Bench,
) -> None:
    bench.in_flight.capacity = 3 * A_FEW
    await bench.owe(A_FEW + 1)
    await bench.owe_single(2)
    claiming = Deferred.fromCoroutine(bench.claimer.claim())
    while len(bench.begun.held) < 2:
        await deferLater(bench.database.reactor, 0.01)
    assert [held.send.lane for held in bench.begun.held] == ["single"] * 2, "they do not wait"
    assert len(bench.in_flight.held) == A_FEW + 3
    bench.clock.advance(0)
    assert await claiming == len(bench.begun.held) == A_FEW + 3


@ensureDeferred
async def test_no_more_is_claimed_than_there_are_places_for(bench: Bench) -> None:
    await bench.owe(25)
    assert [await bench.claimer.claim() for _ in range(2)] == [10, 0]
    assert bench.states() == {"claimed": 10, "owed": 15}


@ensureDeferred
async def test_nothing_is_asked_of_the_database_until_half_of_the_places_are_free(
    bench: Bench,
) -> None:
    await bench.owe(25)
    await bench.claimer.claim()
    bench.let_go(4)
    bench.line.tries = 0
    assert await bench.claimer.claim() == 0
    assert bench.line.tries == 0
    bench.let_go(1)
    assert await bench.claimer.claim() == 5


@ensureDeferred
async def test_single_sends_that_were_asked_for_do_not_wait_for_half_of_the_places(
    bench: Bench,
) -> None:
    await bench.owe(25)
    await bench.claimer.claim()
    await bench.owe_single(3)
    bench.line.tries = 0
    assert await bench.claimer.claim() == 0
    assert bench.line.tries == 0, "the database was asked though nobody asked for a single send"
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 2, "as many as there are spare places"
    assert [held.send.lane for held in bench.begun.held] == ["tick"] * 10 + ["single"] * 2
    bench.let_go(5)
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 1, "one of a tick before half of the places are free"


@ensureDeferred
async def test_a_single_send_waits_for_its_place_and_is_not_forgotten(bench: Bench) -> None:
    await bench.owe(10)
    await bench.claimer.claim()
    await bench.owe_single(3)
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 2
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 0
    bench.let_go(1)
    assert await bench.claimer.claim() == 1


@ensureDeferred
async def test_while_single_sends_are_waiting_each_free_place_is_for_one_of_them(
    bench: Bench,
) -> None:
    await bench.owe(10)
    await bench.claimer.claim()
    await bench.owe_single(4)
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 2
    for _ in range(2):
        bench.let_go(1)
        assert await bench.claimer.claim() == 1
    bench.let_go(1)
    assert await bench.claimer.claim() == 0, "none was left"
    bench.line.tries = 0
    assert await bench.claimer.claim() == 0
    assert bench.line.tries == 0


@ensureDeferred
async def test_single_sends_that_another_daemon_was_asked_for_are_found_within_a_second(
    bench: Bench,
) -> None:
    await bench.owe(25)
    await bench.claimer.claim()
    await bench.owe_single(1)
    bench.clock.advance(LOOK_SECONDS)
    assert await bench.claimer.claim() == 1
    assert bench.begun.held[-1].send.lane == "single"


@ensureDeferred
async def test_where_nothing_was_left_nothing_is_looked_for_until_there_is_a_reason(
    bench: Bench,
) -> None:
    await bench.owe(3)
    assert await bench.claimer.claim() == 3
    bench.line.tries = 0
    bench.let_go(3)
    bench.wakeup.look_again()
    assert await bench.claimer.claim() == 0
    assert bench.line.tries == 0
    await bench.owe_single(1)
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 1
    await bench.owe(1, "another")
    bench.clock.advance(LOOK_SECONDS)
    assert await bench.claimer.claim() == 1


@ensureDeferred
async def test_what_a_look_for_single_sends_may_have_left_is_claimed_once_there_is_room(
    bench: Bench,
) -> None:
    await bench.owe(10)
    await bench.claimer.claim()
    await bench.owe(1, "another")
    bench.wakeup.wake()
    assert await bench.claimer.claim() == 0
    bench.let_go(5)
    assert await bench.claimer.claim() == 1


@ensureDeferred
async def test_the_spare_places_are_not_for_those_of_a_tick(bench: Bench) -> None:
    await bench.owe(25)
    await bench.owe_single(1)
    assert await bench.claimer.claim() == 11
    assert [held.send.lane for held in bench.begun.held].count("tick") == 10


@pytest.mark.parametrize("which", [0, 1])
@ensureDeferred
async def test_while_a_breaker_is_open_nothing_is_claimed_and_then_one_probe_at_a_time(
    bench: Bench, which: int
) -> None:
    await bench.owe(25)
    breaker = bench.breakers[which]
    breaker.fail(AWAY)
    assert await bench.claimer.claim() == 0
    bench.clock.advance(breaker.wait.total_seconds())
    assert await bench.claimer.claim() == 1
    assert await bench.claimer.claim() == 0, "a second probe beside the first"
    bench.let_go(1)
    assert await bench.claimer.claim() == 1
    breaker.succeed()
    assert await bench.claimer.claim() == 9


@ensureDeferred
async def test_a_probe_waits_for_what_is_still_under_way(bench: Bench) -> None:
    await bench.owe(25)
    await bench.claimer.claim()
    bench.breakers[0].fail(AWAY)
    bench.clock.advance(10)
    bench.let_go(9)
    assert await bench.claimer.claim() == 0
    bench.let_go(1)
    assert await bench.claimer.claim() == 1


@ensureDeferred
async def test_a_claim_that_the_database_does_not_take_changes_nothing(bench: Bench) -> None:
    await bench.owe(3)
    bench.line.is_cut = True
    with pytest.raises(DatabaseUnavailable):
        await bench.claimer.claim()
    assert (bench.in_flight.held, bench.begun.held) == ({}, [])


@ensureDeferred
async def test_a_claim_whose_answer_was_lost_is_given_back_and_what_is_in_flight_is_not(
    bench: Bench,
) -> None:
    await bench.owe(4)
    await bench.claimer.claim()
    kept = set(bench.in_flight.held)
    bench.direct.rows(
        "INSERT INTO sends (kind, lane, subscription_id, identity, tick_id)"
        " SELECT 'next', 'tick', gen_random_uuid(), 'i', 1 FROM generate_series(1, 3)"
    )
    bench.line.is_cut_at_commit = True
    bench.wakeup.wake()
    with pytest.raises(CommitUnknown):
        await bench.claimer.claim()
    assert bench.states() == {"claimed": 7}
    bench.line.is_cut_at_commit = False
    assert await bench.claimer.claim() == 3
    assert {held.send.attempt for held in bench.begun.held[4:]} == {2}
    assert {held.send.attempt for held in bench.begun.held[:4]} == {1}
    assert kept < set(bench.in_flight.held)
    rows = bench.direct.rows("SELECT attempt FROM sends WHERE id = ANY(%s)", list(kept))
    assert {row["attempt"] for row in rows} == {1}


@ensureDeferred
async def test_strays_are_looked_for_until_they_are_surely_found(bench: Bench) -> None:
    await bench.owe(3)
    bench.line.is_cut_at_commit = True
    for _ in range(3):
        with pytest.raises(CommitUnknown):
            await bench.claimer.claim()
    bench.line.is_cut_at_commit = False
    assert await bench.claimer.claim() == 3


@ensureDeferred
async def test_leases_are_renewed_while_their_owner_lives(bench: Bench) -> None:
    await bench.owe(2)
    await bench.claimer.claim()
    bench.direct.rows("UPDATE sends SET lease_until = now()")
    bench.clock.advance(20)
    await bench.claimer.renew()
    assert bench.direct.value("SELECT min(lease_until) > now() + interval '30 s' FROM sends")
    assert {held.lease.end for held in bench.begun.held} == {20 + LEASE.total_seconds()}


@ensureDeferred
async def test_a_lease_that_somebody_ended_is_lost(bench: Bench) -> None:
    await bench.owe(2)
    await bench.claimer.claim()
    lost, kept = bench.begun.held
    bench.direct.rows(
        "UPDATE sends SET attempt = 2, owner = gen_random_uuid() WHERE id = %s", lost.send.id
    )
    await bench.claimer.renew()
    assert bench.in_flight.obstacle(lost, RequestTimeout(timedelta(0)))
    assert not bench.in_flight.obstacle(kept, RequestTimeout(timedelta(0)))


@ensureDeferred
async def test_with_nothing_in_flight_there_is_nothing_to_renew(bench: Bench) -> None:
    await bench.claimer.renew()
    assert bench.line.tries == 0


@ensureDeferred
async def test_claims_of_a_daemon_that_fell_silent_become_unknown(bench: Bench) -> None:
    await bench.owe(3)
    await bench.claimer.claim()
    dead = bench.begun.held[0].send.id
    bench.direct.rows("UPDATE sends SET lease_until = now() - interval '1 s' WHERE id = %s", dead)
    assert await bench.claimer.expire() == 1
    assert await bench.claimer.expire() == 0
    assert bench.direct.value("SELECT id FROM sends WHERE state = 'unknown'") == dead


@ensureDeferred
async def test_a_probe_is_somebody_whose_last_call_did_not_fail_if_such_a_send_is_due(
    bench: Bench,
) -> None:
    await bench.owe_single(3)
    identities = [
        row["identity"]
        for row in bench.direct.rows("SELECT identity FROM sends ORDER BY due_at, id")
    ]
    failing = bench.blames.message_sender
    for identity in identities[:2]:
        await failing.is_theirs(identity, AWAY, began_at=0, faults=0)
        bench.clock.advance(failing.breaker.wait.total_seconds())
    assert failing.breaker.is_probing
    assert await bench.claimer.claim() == 1
    (probe,) = bench.begun.held
    assert probe.send.identity == identities[2]
    assert failing.breaker.probe == f"the send of subscription {probe.send.subscription_id}"


@ensureDeferred
async def test_if_nobody_else_is_due_the_one_that_failed_is_the_probe(bench: Bench) -> None:
    await bench.owe_single(1)
    (row,) = bench.direct.rows("SELECT identity, subscription_id FROM sends")
    failing = bench.blames.message_sender
    await failing.is_theirs(row["identity"], AWAY, began_at=0, faults=0)
    bench.clock.advance(failing.breaker.wait.total_seconds())
    assert await bench.claimer.claim() == 1
    assert str(row["subscription_id"]) in failing.breaker.probe
