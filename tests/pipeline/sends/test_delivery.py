"""The path of one send, to each of its ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.clients.outcomes import Faulty, HeldBack, Rejected, Unavailable
from sbm.clients.outcomes import OutcomeUnknown as UnknownError
from sbm.model.backoff import CAP
from sbm.model.json_text import JsonText
from sbm.model.outbound import compose
from sbm.model.send import GivenBack, Send, SendResult, Settled
from sbm.model.send import Unknown as UnknownOutcome
from sbm.model.send_pause import PauseScope
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends import delivery
from sbm.pipeline.sends.address_lookup import AddressLookup
from sbm.pipeline.sends.blame import Blame
from sbm.pipeline.sends.delivery import STOPPING, Blames, Delivery
from sbm.pipeline.sends.in_flight import InFlight
from sbm.pipeline.sends.priority_slots import PrioritySlots
from sbm.pipeline.sends.retries import Retries
from tests.pipeline.fakes import (
    LEASE,
    Results,
    Service,
    another_send,
    no_pace,
    nothing_in_flight,
)

TIMEOUT = timedelta(seconds=30)
GRACE = timedelta(seconds=20)
AT_ONCE = timedelta(0)
MAX_FAULTS = 3
DRY_RUN = 99


@define(eq=False, slots=False)
class Bench:
    """A delivery between services that the test plays; ``results`` are what it came to."""

    concurrency: int = 2
    clock: Clock = field(factory=Clock)
    identity_store: Service = field(factory=lambda: Service("+27820001001"))
    message_sender: Service = field(factory=lambda: Service("outbound-1"))

    def __attrs_post_init__(self) -> None:
        self.in_flight: InFlight = nothing_in_flight(self.clock)
        self.completer = Results(self.in_flight)
        self.away = self._breaker("is"), self._breaker("ms")
        retries = Retries(max_faults=MAX_FAULTS, cap=CAP, draw=lambda: 1.0)
        identity_store: Any = self.identity_store
        address_lookup = AddressLookup(
            identity_store=identity_store,
            breaker=self.away[0],
            retries=retries,
            seconds=self.clock.seconds,
        )
        self.blames = Blames(
            identity_store=address_lookup.blame,
            message_sender=Blame(
                breaker=self.away[1],
                seconds=self.clock.seconds,
                is_well=self.message_sender.is_well,
            ),
        )
        make: Any = Delivery
        self.delivery = make(
            reactor=self.clock,
            in_flight=self.in_flight,
            completer=self.completer,
            address_lookup=address_lookup,
            message_sender=self.message_sender,
            blames=self.blames,
            retries=retries,
            media_url="http://media",
            dry_runs=frozenset({DRY_RUN}),
            request_timeout=TIMEOUT,
            slots=PrioritySlots(places=self.concurrency),
            pacer=no_pace(self.clock),
            grace=GRACE,
        )
        self.delivery.startService()

    def _breaker(self, name: str) -> Breaker:
        return Breaker(service=name, seconds=self.clock.seconds, draw=lambda: 1.0)

    def begin(self, send: Send | None = None) -> Send:
        send = send or another_send()
        self.delivery.begin(self.in_flight.take(send, asked_at=self.in_flight.uptime()))
        return send

    def result(self, send: Send) -> SendResult:
        return self.completer.results[send.id]

    def failures(self) -> list[int]:
        return [breaker.failures for breaker in self.away]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_posted_is_sent(bench: Bench) -> None:
    send = bench.begin()
    assert bench.result(send) == Settled(outcome="sent", stage="post", outbound_id="outbound-1")
    assert bench.identity_store.asked == [send.identity]
    (outbound,) = bench.message_sender.asked
    assert (outbound["to_addr"], outbound["content"]) == ("+27820001001", "one")
    assert outbound["metadata"]["sbm_send_id"] == str(send.id)


def test_few_long_messages_are_posted_at_once() -> None:
    bench = Bench(concurrency=20, message_sender=Service(None))
    long = JsonText('{"a": "%s"}' % ("x" * delivery.LONG))
    for _ in range(delivery.LONG_AT_ONCE + 2):
        bench.begin(another_send(message={"metadata": long}))
    bench.begin()
    assert len(bench.message_sender.asked) == delivery.LONG_AT_ONCE + 1
    for answer in list(bench.message_sender.waiting):
        answer.callback("outbound-1")
    assert len(bench.message_sender.asked) == delivery.LONG_AT_ONCE + 3


def test_to_what_has_an_objection_nobody_is_asked(bench: Bench) -> None:
    send = bench.begin(another_send(active=False))
    result = bench.result(send)
    assert isinstance(result, Settled)
    assert result.outcome == "skipped"
    assert bench.identity_store.asked == bench.message_sender.asked == []


def test_what_the_rules_refuse_is_not_posted(bench: Bench) -> None:
    result = bench.result(bench.begin(another_send(message={"text_content": "x" * 1001})))
    assert isinstance(result, Settled)
    assert (result.outcome, result.stage) == ("failed", "content")
    dry_run = another_send(messageset_id=DRY_RUN, carries=False, lack="end")
    ended = bench.result(bench.begin(dry_run))
    assert isinstance(ended, Settled)
    assert ended.is_at_end
    assert bench.identity_store.asked == bench.message_sender.asked == []


def test_without_an_address_nothing_is_posted(bench: Bench) -> None:
    bench.identity_store.always = Rejected("no address")
    send = bench.begin()
    assert bench.result(send) == Settled(
        outcome="failed", stage="address", reason="no address", is_unaddressed=True
    )
    assert bench.message_sender.asked == []


def test_while_the_identity_store_is_away_sends_are_given_back(bench: Bench) -> None:
    bench.identity_store.always = Unavailable("away")
    first, second = bench.begin(), bench.begin()
    for send in (first, second):
        assert bench.result(send) == GivenBack(reason="away", delay=timedelta(seconds=1))
    assert bench.failures() == [2, 0]


def test_while_the_message_sender_is_away_sends_are_given_back(bench: Bench) -> None:
    bench.message_sender.always = Unavailable("busy", timedelta(seconds=90))
    send = bench.begin()
    assert bench.result(send) == GivenBack(reason="busy", delay=timedelta(seconds=90 + 1))
    assert bench.failures() == [0, 1]


def test_a_refusal_blames_the_message(bench: Bench) -> None:
    bench.message_sender.always = Rejected("too long")
    send = bench.begin()
    assert bench.result(send) == Settled(outcome="refused", stage="post", reason="too long")
    assert bench.failures() == [0, 0]


def test_what_may_have_been_done_is_unknown_and_keeps_others_from_the_same_fate(
    bench: Bench,
) -> None:
    bench.message_sender.always = UnknownError("timed out")
    send = bench.begin()
    assert bench.result(send) == UnknownOutcome(reason="timed out")
    assert bench.failures() == [0, 1]


def test_what_was_not_foreseen_is_unknown_once_a_post_may_have_begun(bench: Bench) -> None:
    bench.message_sender.always = None
    send = bench.begin()
    assert bench.message_sender.begin()
    bench.message_sender.waiting[0].errback(RuntimeError("oh"))
    assert bench.result(send) == UnknownOutcome(reason="RuntimeError: oh")


def test_what_was_not_foreseen_before_a_post_is_a_fault_of_the_message(bench: Bench) -> None:
    bench.identity_store.always = RuntimeError("oh")
    first = bench.begin()
    assert bench.result(first) == GivenBack(
        reason="RuntimeError: oh", delay=timedelta(seconds=1), is_fault=True
    )
    last = bench.begin(evolve(another_send(), faults=MAX_FAULTS - 1))
    assert bench.result(last) == Settled(
        outcome="failed", stage="content", reason="RuntimeError: oh (tried 3 times)"
    )


REFUSED = Faulty("403")


def go_through(bench: Bench) -> None:
    """The send of another person succeeds."""
    bench.message_sender.always = "outbound-1"
    bench.begin(evolve(another_send(), identity="somebody else"))


@pytest.mark.parametrize("error", [REFUSED, UnknownError("500")])
def test_what_fails_while_others_go_through_is_a_fault_of_the_message(
    bench: Bench, error: Exception
) -> None:
    go_through(bench)
    bench.message_sender.always = error
    result = bench.result(bench.begin())
    if isinstance(error, UnknownError):
        assert result == UnknownOutcome(reason="500", is_fault=True)
    else:
        assert result == GivenBack(reason="403", delay=timedelta(seconds=1), is_fault=True)
    assert bench.failures() == [0, 0]


@pytest.mark.parametrize("error", [REFUSED, UnknownError("500")])
def test_what_fails_alone_is_nobodys_fault(bench: Bench, error: Exception) -> None:
    bench.message_sender.always = error
    result = bench.result(bench.begin())
    assert isinstance(result, GivenBack | UnknownOutcome)
    assert not result.is_fault
    assert bench.failures() == [0, 1]


def test_a_service_that_asks_everybody_to_wait_is_nobodys_fault(bench: Bench) -> None:
    go_through(bench)
    bench.message_sender.always = UnknownError(
        "503", timedelta(seconds=7), at_once=True, may_be_theirs=False
    )
    assert bench.result(bench.begin()) == UnknownOutcome(reason="503", is_fault=False)
    assert bench.away[1].wait == timedelta(seconds=7)


def test_what_was_at_fault_too_often_is_a_failure_with_all_its_answers(bench: Bench) -> None:
    go_through(bench)
    bench.message_sender.always = REFUSED
    send = evolve(another_send(), faults=MAX_FAULTS - 1, answers=("500", "403"))
    assert bench.result(bench.begin(send)) == Settled(
        outcome="failed", stage="post", reason="500; 403 (tried 3 times)"
    )


def test_what_was_found_absent_too_often_is_not_posted_again(bench: Bench) -> None:
    send = evolve(another_send(), faults=MAX_FAULTS, answers=("500", "reset"))
    assert bench.result(bench.begin(send)) == Settled(
        outcome="failed", stage="post", reason="500; reset (tried 3 times)"
    )
    assert bench.identity_store.asked == bench.message_sender.asked == []


def test_a_dry_run_finds_that_a_message_cannot_be_written_as_json(bench: Bench) -> None:
    odd = {"metadata": JsonText('{"sbm_lang": 1, "a": ' + "9" * 5000 + "}")}
    for messageset_id in (1, DRY_RUN):
        result = bench.result(bench.begin(another_send(messageset_id=messageset_id, message=odd)))
        assert isinstance(result, GivenBack)
        assert result.is_fault


def test_a_dry_run_does_everything_but_the_post(bench: Bench) -> None:
    for _ in range(2):
        send = bench.begin(another_send(messageset_id=DRY_RUN))
        assert bench.result(send) == Settled(outcome="dry-run", stage="post")
    assert len(bench.identity_store.asked) == 2
    assert bench.message_sender.asked == []


def test_what_is_in_flight_when_a_service_goes_away_does_not_call_it(bench: Bench) -> None:
    bench.message_sender.always = Unavailable("busy", timedelta(seconds=90), at_once=True)
    bench.begin()
    send = bench.begin()
    assert bench.result(send) == GivenBack(reason="busy", delay=timedelta(seconds=90))
    assert len(bench.message_sender.asked) == 1


def test_an_answer_of_any_kind_says_that_a_service_is_back(bench: Bench) -> None:
    for always in ("sent", Rejected("refused")):
        for breaker in bench.away:
            breaker.fail(Unavailable("away"))
        bench.message_sender.always = always
        bench.begin()
        assert bench.failures() == [0, 0]
    bench.away[0].fail(Unavailable("away"))
    bench.identity_store.always = Rejected("no address")
    bench.begin()
    assert bench.failures() == [0, 0]


def test_a_post_is_not_begun_when_the_lease_is_too_short(bench: Bench) -> None:
    bench.message_sender.always = None
    bench.begin()
    assert bench.message_sender.begin()
    bench.clock.advance((LEASE - TIMEOUT).total_seconds() - 1)
    assert bench.message_sender.begin()
    bench.clock.advance(0.01)
    assert not bench.message_sender.begin()


def test_what_was_held_back_is_given_back_and_nobody_is_blamed(bench: Bench) -> None:
    bench.message_sender.always = None
    send = bench.begin()
    bench.clock.advance(LEASE.total_seconds())
    assert not bench.message_sender.begin()
    bench.message_sender.waiting[0].errback(HeldBack("no time was left"))
    assert bench.result(send) == GivenBack(reason="the lease was too short", delay=AT_ONCE)
    assert bench.failures() == [0, 0]


def test_no_more_are_under_way_than_are_allowed_at_once(bench: Bench) -> None:
    bench.identity_store.always = None
    for _ in range(5):
        bench.begin()
    assert len(bench.identity_store.asked) == 2
    bench.identity_store.waiting[0].callback("+1")
    assert len(bench.identity_store.asked) == 3


def single() -> Send:
    return evolve(another_send(), lane="single", identity="single")


def test_single_sends_overtake_what_of_a_tick_waits_for_its_turn(bench: Bench) -> None:
    bench.identity_store.always = None
    for _ in range(4):
        bench.begin()
    for _ in range(3):
        bench.begin(single())
    assert bench.identity_store.asked == ["bbe7936a"] * 2
    for answer in bench.identity_store.waiting[:2]:
        answer.callback("+1")
    assert bench.identity_store.asked[2:] == ["single", "single"]
    for answer in bench.identity_store.waiting[2:4]:
        answer.callback("+1")
    assert bench.identity_store.asked[4:] == ["single", "bbe7936a"]


# Stopping


def stop(bench: Bench) -> Callable[[], bool]:
    """Begin to stop; answers whether it has stopped by now."""
    stopped: Deferred[None] = bench.delivery.stopService()
    return lambda: bool(stopped.called)


def test_with_an_empty_hand_it_stops_at_once(bench: Bench) -> None:
    assert stop(bench)()


def test_stopping_lets_what_is_under_way_go_on_and_gives_back_the_rest(bench: Bench) -> None:
    bench.message_sender.always = None
    under_way = [bench.begin() for _ in range(2)]
    waiting = [bench.begin() for _ in range(3)]
    stopped = stop(bench)
    assert {bench.result(send) for send in waiting} == {GivenBack(reason=STOPPING, delay=AT_ONCE)}
    assert not stopped()
    for answer in bench.message_sender.waiting:
        answer.callback("outbound-1")
    assert stopped()
    assert {type(bench.result(send)) for send in under_way} == {Settled}
    assert len(bench.message_sender.asked) == 2


def test_what_is_claimed_late_is_given_back(bench: Bench) -> None:
    stop(bench)
    send = bench.begin()
    assert bench.result(send) == GivenBack(reason=STOPPING, delay=AT_ONCE)
    assert bench.identity_store.asked == []


def test_after_the_grace_what_is_still_under_way_is_broken_off(bench: Bench) -> None:
    """The clients say what breaking off came to: unknown if a POST was begun, else given back."""
    bench.message_sender.always = bench.identity_store.always = None
    posting = bench.begin()
    bench.identity_store.waiting.pop().callback("+1")
    asking, waiting = bench.begin(), bench.begin()
    bench.message_sender.broken_off = UnknownError("broken off")
    bench.identity_store.broken_off = Unavailable("broken off")
    stopped = stop(bench)
    bench.clock.advance(GRACE.total_seconds() - 0.1)
    assert not stopped()
    bench.clock.advance(0.1)
    assert stopped()
    assert bench.result(posting) == UnknownOutcome(reason="broken off")
    assert isinstance(bench.result(asking), GivenBack)
    assert bench.result(waiting) == GivenBack(reason=STOPPING, delay=AT_ONCE)
    assert len(bench.message_sender.asked) == 1
    assert bench.in_flight.held == {}


def test_one_that_waits_for_its_turn_longest_is_given_back_even_if_it_is_broken_off_first(
    bench: Bench,
) -> None:
    bench.identity_store.always = None
    first, second = bench.begin(), bench.begin()
    third = bench.begin()
    # The one in the queue comes first in the dictionary.
    bench.in_flight.held = {
        send.id: bench.in_flight.held[send.id] for send in (third, first, second)
    }
    bench.identity_store.broken_off = Unavailable("broken off")
    stop(bench)
    bench.clock.advance(GRACE.total_seconds())
    assert bench.result(third) == GivenBack(reason=STOPPING, delay=AT_ONCE)
    assert len(bench.identity_store.asked) == 2


def test_one_that_always_fails_does_not_stop_the_others(bench: Bench) -> None:
    """Failures of one person, with successes of others between them, open no breaker."""
    for _ in range(20):
        bench.identity_store.always = Unavailable("500 for this one")
        bench.begin()
        bench.identity_store.always = "+27820001001"
        bench.begin()
    assert [breaker.wait for breaker in bench.away] == [AT_ONCE, AT_ONCE]


def test_what_failed_comes_back_later_than_the_next_probe(bench: Bench) -> None:
    bench.identity_store.always = Unavailable("away")
    for attempt in range(1, 9):
        send = bench.begin(evolve(another_send(), attempt=attempt))
        result = bench.result(send)
        assert isinstance(result, GivenBack)
        assert result.delay > bench.away[0].wait
        bench.clock.advance(bench.away[0].wait.total_seconds())


class Moments:
    """A pacer whose moments the test hands out."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.ready = 0

    def is_paced(self, send: Send) -> bool:
        return send.max_rate is not None

    async def turn(self, _send: Send) -> None:
        turn: Deferred[None] = Deferred(self.waiting.remove)
        self.waiting.append(turn)
        await turn

    def take(self, _send: Send) -> bool:
        self.ready -= 1
        return self.ready >= 0

    def call(self, *, in_time: bool = True) -> None:
        """The moment of the next send comes; if not in time, it is over when the POST begins."""
        self.ready = int(in_time)
        self.waiting.pop(0).callback(None)

    def turn_away(self) -> None:
        for turn in list(self.waiting):
            turn.cancel()


@pytest.fixture
def moments(bench: Bench) -> Moments:
    made: Any = Moments()
    bench.delivery._pacer = made
    return cast("Moments", made)


def paced(**difference: Any) -> Send:
    return another_send(send={"max_rate": 5, **difference})


def test_a_send_waits_for_its_moment_without_a_slot(bench: Bench, moments: Moments) -> None:
    waiting = [bench.begin(paced()) for _ in range(5)]
    assert bench.message_sender.asked == []
    at_once = bench.begin()
    assert bench.result(at_once).outcome == "sent"  # type: ignore[union-attr]
    for send in waiting:
        moments.call()
        bench.message_sender.begin()
        assert bench.result(send).outcome == "sent"  # type: ignore[union-attr]
    assert len(moments.waiting) == 0


def test_a_send_that_waits_for_its_moment_is_not_written_yet(
    bench: Bench, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Send] = []

    def noted(send: Send, *where: str) -> bytes:
        written.append(send)
        return compose(send, *where)

    monkeypatch.setattr(delivery, "compose", noted)
    send = bench.begin(paced())
    assert written == []
    moments.call()
    assert written == [send]


def test_a_send_whose_moment_has_come_gets_the_next_slot(bench: Bench, moments: Moments) -> None:
    first = bench.begin(paced())
    bench.message_sender.always = None
    for _ in range(4):
        bench.begin()  # two are under way, and two wait for a slot
    moments.call()
    bench.message_sender.waiting[0].callback("outbound-1")
    assert len(bench.message_sender.asked) == 3
    assert bench.message_sender.asked[-1]["metadata"]["sbm_send_id"] == str(first.id)


def test_a_moment_that_is_over_is_waited_for_again(bench: Bench, moments: Moments) -> None:
    send = bench.begin(paced())
    bench.message_sender.always = None
    moments.call(in_time=False)
    assert not bench.message_sender.begin()
    bench.message_sender.waiting.pop(0).errback(HeldBack("no time was left"))
    assert send.id not in bench.completer.results
    moments.call()
    assert bench.message_sender.begin()
    bench.message_sender.waiting.pop(0).callback("outbound-1")
    assert bench.result(send).outcome == "sent"  # type: ignore[union-attr]
    assert bench.failures() == [0, 0]


def test_what_is_paused_while_it_waits_for_its_moment_is_given_back(
    bench: Bench, moments: Moments
) -> None:
    send = bench.begin(paced())
    bench.in_flight.withhold([PauseScope()])
    assert bench.result(send) == GivenBack(reason="the programme is held back", delay=AT_ONCE)
    assert moments.waiting == []
    bench.in_flight.withhold([])
    assert bench.result(bench.begin()).outcome == "sent"  # type: ignore[union-attr]


def test_what_is_paused_while_its_address_is_looked_up_is_not_posted(bench: Bench) -> None:
    bench.identity_store.always = bench.message_sender.always = None
    send = bench.begin()
    bench.in_flight.withhold([PauseScope()])
    bench.identity_store.waiting[0].callback("+1")
    assert not bench.message_sender.begin()
    bench.message_sender.waiting[0].errback(HeldBack("no time was left"))
    assert bench.result(send) == GivenBack(reason="the programme is held back", delay=AT_ONCE)
    assert bench.failures() == [0, 0]


def test_a_daemon_that_stops_waits_for_no_moment(bench: Bench, moments: Moments) -> None:
    bench.identity_store.always = None
    looking_up, waiting = bench.begin(paced()), bench.begin(paced())
    bench.identity_store.waiting.pop(1).callback("+1")
    bench.delivery.stopService()
    bench.identity_store.waiting.pop(0).callback("+1")
    for send in (looking_up, waiting):
        assert bench.result(send) == GivenBack(reason="the daemon is stopping", delay=AT_ONCE)
