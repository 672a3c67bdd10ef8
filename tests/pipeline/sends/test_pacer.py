"""Messages leave at the rate of their schedule, from several daemons together."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from sbm.model.send import Lane, Send
from sbm.pipeline.sends.pacer import LATE_SECONDS, RESERVE_SECONDS, SURE_SECONDS, Offset, Pacer
from sbm.store.paces import Moments
from tests.pipeline.fakes import another_send

# What the database's clock says at the start.
EPOCH = 1e9


@define(eq=False)
class Moment:
    """The database's row of one rate: the next free moment, for all daemons."""

    clock: Clock
    draw: random.Random | None = None
    slow: float = 0.0
    next_at: float = 0.0
    reservations: int = 0

    async def transact(self, work: Any, **asked: Any) -> Moments:
        """As reserve_moments does it; the question or the answer may take a while."""
        await self._waits()
        found = self._reserve(work, **asked)
        await self._waits()
        return found

    async def _waits(self) -> None:
        waited: Deferred[None] = Deferred()
        if self.draw is not None or self.slow:
            choices = [0.001, 0.001, 0.005, 0.2, 0.4]
            delay = self.draw.choice(choices) if self.draw is not None else self.slow
            self.clock.callLater(delay, waited.callback, None)
            await waited

    def _reserve(self, _work: Any, **asked: Any) -> Moments:
        rate = asked["schedule_rate"] or asked["overall_rate"]
        now, ahead = self.clock.seconds(), asked["ahead"].total_seconds()
        first = max(now + asked["soonest"].total_seconds(), self.next_at)
        count = 0
        if first <= now + ahead:
            count = min(asked["wanted"], 1 + int((now + ahead - first) * rate))
        self.next_at = first + count / rate if count else self.next_at
        self.reservations += 1
        return Moments(now=EPOCH + now, first_at=EPOCH + first, spacing=1 / rate, count=count)


@define(eq=False, slots=False)
class Sending:
    """Daemons whose sends wait for their turn, and when each left."""

    rate: int = 100
    count: int = 1
    overall_rate: int | None = None
    draw: random.Random | None = None
    clock: Clock = field(factory=Clock)
    left_at: list[float] = field(factory=list)
    order: list[Send] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        database: Any = Moment(self.clock, self.draw)
        self.database = database
        self.pacers = [
            Pacer(
                reactor=self.clock,
                database=database,
                overall_rate=self.overall_rate,
                uptime=self.clock.seconds,
            )
            for _ in range(self.count)
        ]
        for pacer in self.pacers:
            pacer.startService()

    def send(self, lane: Lane = "tick", schedule_id: int = 1) -> Send:
        rate = None if self.overall_rate else self.rate
        return another_send(send={"max_rate": rate, "schedule_id": schedule_id, "lane": lane})

    def begin(
        self, which: int = 0, *, lane: Lane = "tick", delay: Callable[[], float] = lambda: 0.0
    ) -> None:
        """A send that begins its POST so long after its turn, and waits again if that is late."""
        pacer, send = self.pacers[which], self.send(lane)

        async def carry() -> None:
            while True:
                await pacer.turn(send)
                waited: Deferred[None] = Deferred()
                self.clock.callLater(delay(), waited.callback, None)
                await waited
                if pacer.take(send):
                    self.left_at.append(self.clock.seconds())
                    self.order.append(send)
                    return

        Deferred.fromCoroutine(carry())

    def passes(self, seconds: float) -> None:
        self.clock.pump([0.005] * round(seconds / 0.005))

    def most_in_a_second(self) -> int:
        seconds = [[start <= at < start + 1 for at in self.left_at] for start in self.left_at]
        return max(map(sum, seconds), default=0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([1, 7, 100]), daemons=st.integers(1, 3))
def test_never_more_than_the_rate_and_five_percent_leave_in_any_second(
    seed: int, rate: int, daemons: int
) -> None:
    draw = random.Random(seed)
    sending = Sending(rate=rate, count=daemons, draw=draw)

    def delay() -> float:  # sometimes, something hangs
        return draw.choice([0.0, 0.0, 0.001, 0.02, 0.07, 1.5])

    for _ in range(3):
        for _ in range(rate):
            sending.begin(draw.randrange(daemons), delay=delay)
        sending.passes(draw.choice([0.2, 1.0]))
    sending.passes(8)
    if rate > 1:  # of few moments, all may be lost
        assert sending.left_at
    # Each of two daemons may be wrong about the time.
    most = rate * (1 + LATE_SECONDS + 2 * SURE_SECONDS) + 1
    assert sending.most_in_a_second() <= most
    assert most <= max(1.1 * rate, rate + 2)


def test_the_rate_is_reached() -> None:
    sending = Sending(rate=100)
    for _ in range(200):
        sending.begin()
    sending.passes(2.3)
    assert len(sending.left_at) >= 195


def test_beside_a_slow_database_they_leave_all_the_same_but_slower() -> None:
    sending = Sending(rate=20)
    sending.database.slow = 0.1
    for _ in range(40):
        sending.begin()
    sending.passes(8)
    assert len(sending.left_at) >= 20
    assert sending.most_in_a_second() <= 21


def test_the_best_answer_says_what_time_it_is_until_the_clock_is_set() -> None:
    offset = Offset()
    offset.note(100.0, asked_at=0.0, answered_at=1.0)
    assert (offset.seconds, offset.error) == (99.5, 0.5)
    offset.note(100.2, asked_at=1.0, answered_at=1.01)
    assert offset.error == pytest.approx(0.005)
    best = offset.seconds
    offset.note(100.9, asked_at=1.5, answered_at=2.0)  # slow, and no contradiction
    assert offset.seconds == best
    offset.note(500.0, asked_at=2.0, answered_at=2.1)  # the clock was set
    assert offset.seconds == pytest.approx(497.95)


def test_all_schedules_share_the_overall_rate() -> None:
    sending = Sending(overall_rate=10)
    for schedule_id in range(1, 40):
        sending.begin(lane="tick", delay=lambda: 0.0)
        assert sending.pacers[0].is_paced(sending.send(schedule_id=schedule_id))
    sending.passes(1.25)
    assert 10 <= len(sending.left_at) <= 12


def test_single_sends_come_first() -> None:
    sending = Sending(rate=10)
    for lane in ("tick", "tick", "single"):
        sending.begin(lane=lane)
    sending.passes(1)
    assert [send.lane for send in sending.order] == ["single", "tick", "tick"]


def test_without_a_rate_nobody_waits_and_the_database_is_not_asked() -> None:
    sending = Sending()
    assert not sending.pacers[0].is_paced(another_send())
    sending.passes(10 * RESERVE_SECONDS)
    assert sending.database.reservations == 0


@ensureDeferred
async def test_stopping_ends_every_wait() -> None:
    sending = Sending(rate=1)
    turns = [Deferred.fromCoroutine(sending.pacers[0].turn(sending.send())) for _ in range(3)]
    stopped = sending.pacers[0].stopService()
    for turn in turns:
        with pytest.raises(Exception):  # noqa: B017, PT011  # cancelled
            await turn
    await (stopped or succeed(None))
    assert sending.clock.getDelayedCalls() == []
