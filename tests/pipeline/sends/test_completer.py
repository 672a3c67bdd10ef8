"""Results, until they are committed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.model.durations import StopGrace
from sbm.model.send import GivenBack, Send, SendResult, Settled, Unknown
from sbm.pipeline.sends.completer import (
    APART_SECONDS,
    BATCH,
    LINGER_SECONDS,
    RETRY_SECONDS,
    Completer,
)
from sbm.runtime.wakeups import Wakeup
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.pipeline.fakes import LEASE, BreakableDatabase, nothing_in_flight
from tests.unreadable import refuse

reactor: Any = _reactor

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
BACK = GivenBack(reason="away", delay=timedelta(0))
GRACE = StopGrace(timedelta(seconds=5))


@define(eq=False, slots=False, kw_only=True)
class Claims(Wakeup):
    """The claimer, which is woken when there is room again."""

    woken: Deferred[None] = field(factory=Deferred)

    def look_again(self) -> None:
        super().look_again()
        # Not before the batch is concluded.
        reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        if not self.woken.called:
            self.woken.callback(None)


@define(eq=False, slots=False)
class Bench:
    """Settling over a real database, by a clock that the test moves."""

    database: Database
    direct: Arranged

    def __attrs_post_init__(self) -> None:
        self.clock = Clock()
        self.in_flight = nothing_in_flight(self.clock, capacity=1000)
        self.line = BreakableDatabase(self.database)
        self.telemetry = Telemetry()
        self.heard: list[tuple[Send, SendResult]] = []
        self.is_listener_broken = False
        self.claims = Claims(reactor=self.clock)
        line: Any = self.line
        self.completer = Completer(
            reactor=self.clock,
            database=line,
            in_flight=self.in_flight,
            telemetry=self.telemetry,
            listeners=[self.telemetry.settled, self._hear],
            claims=self.claims,
            grace=GRACE,
        )
        self.completer.startService()

    def _hear(self, send: Send, result: SendResult) -> None:
        self.heard.append((send, result))
        if self.is_listener_broken:
            raise LookupError("a listener is broken")

    async def claim(self, count: int, name: str = "pregnancy") -> list[Send]:
        """Claims of so many subscribers, in flight."""
        schedule = self.direct.schedule()
        self.direct.subscriptions(count, self.direct.messageset(name, schedule), schedule)
        await self.database.transact(ticks.open_tick, schedule_id=schedule)
        await self.database.transact(ticks.expand, limit=1000)
        return await self.claim_again()

    async def claim_again(self) -> list[Send]:
        claimed = await self.database.transact(
            sends.claim, owner=self.in_flight.owner, limit=1000, lease=LEASE
        )
        for send in claimed:
            self.in_flight.take(send, asked_at=0)
        return claimed

    async def next_batch(self) -> None:
        await self.claims.woken
        self.claims.woken = Deferred()

    async def next_turns(self) -> None:
        """Long enough for several transactions."""
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.1, turn.callback, None)
        await turn

    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.direct.ledger()]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_a_result_is_committed_and_then_let_go(bench: Bench) -> None:
    (send,) = await bench.claim(1)
    bench.line.is_cut = True
    bench.completer.add(send, SENT)
    assert bench.in_flight.held, "let go before it was committed"
    bench.line.is_cut, bench.line.tries = False, 0
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    assert (bench.outcomes(), bench.in_flight.held) == (["sent"], {})
    assert bench.telemetry.counts == {"sends.sent": 1}
    assert bench.heard == [(send, SENT)]


@ensureDeferred
async def test_a_listener_that_fails_holds_up_nothing(bench: Bench) -> None:
    bench.is_listener_broken = True
    bench.telemetry.pending_metrics.is_kept = True
    bench.line.is_cut = True
    claimed = await bench.claim(2)
    for send in claimed:
        bench.completer.add(send, SENT)
    bench.line.is_cut, bench.line.tries = False, 0
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    assert (bench.outcomes(), bench.in_flight.held) == (["sent", "sent"], {})
    assert bench.heard == [(send, SENT) for send in claimed]
    assert bench.telemetry.counts == {"sends.sent": 2}
    assert bench.telemetry.pending_metrics.values["message.text.sum"] == 2
    assert bench.line.tries == 1


@pytest.mark.parametrize(("delay", "calls"), [(0, 1), (5, 0)])
@ensureDeferred
async def test_what_is_given_back_at_once_is_new_work(
    bench: Bench, delay: float, calls: int
) -> None:
    (send,) = await bench.claim(1)
    bench.completer.add(send, GivenBack(reason="away", delay=timedelta(seconds=delay)))
    await bench.next_batch()
    assert bench.claims.calls == calls


@ensureDeferred
async def test_results_of_every_kind_go_in_one_batch(bench: Bench) -> None:
    one, two, three = await bench.claim(3)
    bench.line.is_cut = True
    for send, result in ((one, SENT), (two, BACK), (three, Unknown(reason="timed out"))):
        bench.completer.add(send, result)
    bench.line.is_cut, bench.line.tries = False, 0
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    states = bench.direct.rows("SELECT id, state FROM sends")
    assert {row["id"]: row["state"] for row in states} == {two.id: "owed", three.id: "unknown"}
    assert (bench.outcomes(), bench.line.tries) == (["sent"], 1)
    assert bench.telemetry.counts == {"sends.sent": 1, "sends.givenback": 1, "sends.unknown": 1}


@ensureDeferred
async def test_while_the_database_is_away_results_wait_and_are_then_settled_once(
    bench: Bench,
) -> None:
    (send,) = await bench.claim(1)
    bench.line.is_cut = True
    bench.completer.add(send, SENT)
    for _ in range(5):
        bench.clock.advance(RETRY_SECONDS)
    assert bench.line.tries > 1
    assert (bench.outcomes(), list(bench.in_flight.held)) == ([], [send.id])
    bench.line.is_cut = False
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    assert (bench.outcomes(), bench.in_flight.held) == (["sent"], {})


@ensureDeferred
async def test_a_batch_that_was_committed_without_an_answer_is_not_settled_twice(
    bench: Bench,
) -> None:
    (send,) = await bench.claim(1)
    cut: Deferred[None] = Deferred()

    async def tell() -> None:
        # Not before the line has failed.
        reactor.callLater(0, cut.callback, None)

    bench.line.is_cut_at_commit, bench.line.behind_commit = True, tell
    bench.completer.add(send, SENT)
    await cut
    assert bench.in_flight.held, "nobody can know yet that it was committed"
    bench.line.is_cut_at_commit = False
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    assert (bench.outcomes(), bench.in_flight.held) == (["sent"], {})
    assert bench.direct.value("SELECT next_sequence_number FROM subscriptions") == 2


@ensureDeferred
async def test_only_what_this_commit_has_settled_is_told_to_the_metrics_api(bench: Bench) -> None:
    bench.telemetry.pending_metrics.is_kept = True
    *claimed, elsewhere, lost = await bench.claim(6)
    await bench.database.transact(sends.settle, results=[(elsewhere, SENT)])
    bench.direct.rows("UPDATE sends SET attempt = 2 WHERE id = %s", lost.id)
    results: tuple[SendResult, ...] = (
        SENT,
        Settled(outcome="dry-run", stage="post"),
        Settled(outcome="failed", stage="address", is_unaddressed=True),
        BACK,
        SENT,  # once more, by who did not hear that it was settled
        Settled(outcome="failed", stage="address", is_unaddressed=True),
    )
    for send, result in zip((*claimed, elsewhere, lost), results, strict=True):
        bench.completer.add(send, result)
    while bench.in_flight.held:
        await bench.next_batch()
    assert bench.telemetry.pending_metrics.values == {
        "message.text.pregnancy.sum": 1,
        "message.text.sum": 1,
        "subscriptions.send_next_message_errored.sum": 1,
    }


@ensureDeferred
async def test_a_large_heap_of_results_goes_in_batches(bench: Bench) -> None:
    claimed = await bench.claim(2 * BATCH + 1)
    for send in claimed:
        bench.completer.add(send, SENT)
    while bench.in_flight.held:
        await bench.next_batch()
    assert len(bench.outcomes()) == len(claimed)
    assert bench.line.tries <= 4
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_lost_claim_is_let_go_and_moves_nothing(bench: Bench) -> None:
    lost, kept = await bench.claim(2)
    bench.direct.rows("UPDATE sends SET attempt = 2 WHERE id = %s", lost.id)
    bench.completer.add(lost, Settled(outcome="refused", stage="post", reason="too long"))
    bench.completer.add(kept, SENT)
    while bench.in_flight.held:
        await bench.next_batch()
    assert bench.outcomes() == ["sent"]
    assert bench.telemetry.counts == {"sends.sent": 1, "sends.lost": 1}
    assert bench.direct.value("SELECT count(*) FROM sends WHERE id = %s", lost.id) == 1


@ensureDeferred
async def test_what_was_sent_after_its_send_was_settled_is_a_double(bench: Bench) -> None:
    (send,) = await bench.claim(1)
    await bench.database.transact(sends.settle, results=[(send, SENT)])
    bench.completer.add(send, Settled(outcome="sent", stage="post", outbound_id="2"))
    await bench.next_batch()
    (double,) = bench.direct.rows("SELECT send_id, outbound_id FROM doubles")
    assert double == {"send_id": send.id, "outbound_id": "2"}
    assert bench.telemetry.counts == {"sends.lost": 1, "sends.doubled": 1}


@ensureDeferred
async def test_a_send_that_is_claimed_again_before_its_giving_back_is_known_is_not_forgotten(
    bench: Bench,
) -> None:
    (first,) = await bench.claim(1)

    async def overtake() -> None:
        (second,) = await bench.claim_again()
        assert (second.id, second.attempt) == (first.id, 2)
        bench.completer.add(second, SENT)

    bench.line.behind_commit = overtake
    bench.completer.add(first, BACK)
    while bench.in_flight.held:
        await bench.next_batch()
    assert bench.outcomes() == ["sent"]


@ensureDeferred
async def test_an_answer_that_cannot_be_stored_holds_nobody_up(bench: Bench) -> None:
    odd, even, id_less = await bench.claim(3)
    bench.completer.add(odd, Settled(outcome="refused", stage="post", reason="a\0b\ud800c"))
    bench.completer.add(id_less, Settled(outcome="sent", stage="post", outbound_id="\0\ud800"))
    bench.completer.add(even, SENT)
    while bench.in_flight.held:
        await bench.next_batch()
    reasons = {entry["send_id"]: entry["reason"] for entry in bench.direct.ledger()}
    assert len(reasons) == 3
    assert reasons[odd.id] == "a\ufffdb?c"


@ensureDeferred
async def test_one_result_that_cannot_be_stored_holds_nobody_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, *others = await bench.claim(3)
    settle, tries = sends.settle, []

    async def refuse(transaction: Any, *, results: Any) -> sends.SettledBatch:
        tries.append(len(results))
        if any(send.id == odd.id for send, _ in results):
            raise ValueError("this one is odd")
        return await settle(transaction, results=results)

    monkeypatch.setattr(sends, "settle", refuse)
    bench.line.is_cut = True
    for send in (odd, *others):
        bench.completer.add(send, SENT)
    bench.line.is_cut = False
    bench.clock.advance(RETRY_SECONDS)
    while len(bench.in_flight.held) > 1:
        await bench.next_batch()
    assert (bench.outcomes(), list(bench.in_flight.held)) == (["sent", "sent"], [odd.id])
    assert tries[:3] == [3, 1, 2]


@ensureDeferred
async def test_two_attempts_of_one_send_are_both_settled(bench: Bench) -> None:
    """The late answer to the first, and the second: what the first brought is not forgotten."""
    (first,) = await bench.claim(1)
    bench.direct.rows(
        "UPDATE sends SET state = 'owed', owner = NULL, lease_until = NULL, due_at = now()"
    )
    (second,) = await bench.claim_again()
    bench.line.is_cut = True
    for send, outbound_id in ((first, "1"), (second, "2")):
        bench.completer.add(send, Settled(outcome="sent", stage="post", outbound_id=outbound_id))
    bench.line.is_cut = False
    bench.clock.advance(RETRY_SECONDS)
    while bench.in_flight.held:
        await bench.next_batch()
    assert [entry["outbound_id"] for entry in bench.direct.ledger()] == ["1"]
    assert bench.direct.value("SELECT outbound_id FROM doubles") == "2"


@ensureDeferred
async def test_stopping_settles_what_is_left(bench: Bench) -> None:
    claimed = await bench.claim(BATCH + 1)
    for send in claimed:
        bench.completer.add(send, SENT)
    await bench.completer.stopService()
    assert len(bench.outcomes()) == len(claimed)


@ensureDeferred
async def test_stopping_tries_again_while_the_database_is_away(bench: Bench) -> None:
    (send,) = await bench.claim(1)
    bench.line.is_cut = True
    bench.completer.add(send, SENT)
    stopped = bench.completer.stopService()
    bench.clock.advance(RETRY_SECONDS)
    assert not stopped.called
    bench.line.is_cut = False
    bench.clock.advance(RETRY_SECONDS)
    await stopped
    assert bench.outcomes() == ["sent"]


@ensureDeferred
async def test_stopping_gives_up_in_the_end(bench: Bench) -> None:
    (send,) = await bench.claim(1)
    bench.line.is_cut = True
    bench.completer.add(send, SENT)
    stopped = bench.completer.stopService()
    for _ in range(4):
        bench.clock.advance(1)
        assert not stopped.called
    bench.clock.advance(1)
    assert stopped.called
    assert bench.clock.getDelayedCalls() == []
    assert bench.direct.value("SELECT state FROM sends") == "claimed"


# Rows that another session has locked


@contextmanager
def locked(database_uri: str, statement: str, *values: Any) -> Iterator[None]:
    """Another session has rows locked, for as long as this lasts."""
    holder = psycopg2.connect(database_uri)
    with closing(holder), holder.cursor() as cursor:
        cursor.execute(statement, values)
        try:
            yield
        finally:
            holder.rollback()  # closing it frees the rows a little later


def settle_all(bench: Bench, claimed: list[Send], result: SendResult = SENT) -> None:
    """Let all of them be one batch."""
    bench.line.is_cut = True
    for send in claimed:
        bench.completer.add(send, result)
    bench.line.is_cut, bench.line.tries = False, 0
    bench.clock.advance(RETRY_SECONDS)


@pytest.mark.parametrize("unaddressed", [False, True])
@ensureDeferred
async def test_a_locked_subscription_holds_up_no_other_and_is_settled_when_it_is_free(
    bench: Bench, database_uri: str, unaddressed: bool
) -> None:
    kept, *others = await bench.claim(5)
    result = SENT
    if unaddressed:
        result = Settled(outcome="failed", stage="address", is_unaddressed=True)
    lock = "SELECT FROM subscriptions WHERE id = %s FOR UPDATE"
    with locked(database_uri, lock, str(kept.subscription_id)):
        settle_all(bench, [kept, *others], result)
        await bench.next_batch()
        assert len(bench.outcomes()) == len(others)
        assert bench.line.tries <= 2, "the batch was divided"
        assert list(bench.in_flight.held) == [kept.id]
        bench.clock.advance(RETRY_SECONDS)
        await bench.next_batch()
    assert bench.direct.value("SELECT count(*) FROM doubles") == 0
    while bench.in_flight.held:
        bench.clock.advance(RETRY_SECONDS)
        await bench.next_batch()
    assert len(bench.outcomes()) == 5
    # How many passes meet the lock before it is released depends on the speed of the machine.
    assert bench.telemetry.counts.pop("sends.locked") >= 1
    assert bench.telemetry.counts == {f"sends.{result.outcome}": 5}
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_does_not_move_its_subscription_does_not_wait_for_it(
    bench: Bench, database_uri: str
) -> None:
    claimed = await bench.claim(3)
    with locked(database_uri, "SELECT FROM subscriptions FOR UPDATE"):
        settle_all(bench, claimed, Settled(outcome="refused", stage="post", reason="no"))
        await bench.next_batch()
    assert bench.outcomes() == ["refused"] * 3


@ensureDeferred
async def test_more_locked_subscriptions_than_a_batch_has_hold_up_no_other(
    bench: Bench, database_uri: str
) -> None:
    claimed = await bench.claim(BATCH + 10)
    free = claimed[-10:]
    ids = [str(send.subscription_id) for send in claimed[:BATCH]]
    lock = "SELECT FROM subscriptions WHERE id = ANY(%s::uuid[]) FOR UPDATE"
    with locked(database_uri, lock, ids):
        settle_all(bench, claimed)
        while len(bench.outcomes()) < len(free):
            await bench.next_batch()
            bench.clock.advance(RETRY_SECONDS)
    assert {entry["send_id"] for entry in bench.direct.ledger()} == {send.id for send in free}
    await bench.completer.stopService()
    assert len(bench.outcomes()) == len(claimed)


@pytest.mark.parametrize("result", [SENT, BACK, Unknown(reason="timed out")], ids=str)
@ensureDeferred
async def test_another_locked_row_holds_up_no_other(
    bench: Bench, database_uri: str, result: SendResult
) -> None:
    """The row of the send itself, say: the batch is divided, and then nobody waits for long."""
    kept, *others = await bench.claim(5)
    with locked(database_uri, "SELECT FROM sends WHERE id = %s FOR UPDATE", str(kept.id)):
        settle_all(bench, [kept, *others], result)
        while len(bench.in_flight.held) > 1:
            await bench.next_batch()
        assert list(bench.in_flight.held) == [kept.id]
    while bench.in_flight.held:
        bench.clock.advance(RETRY_SECONDS)
        await bench.next_batch()
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_one_that_cannot_be_settled_is_tried_alone_from_then_on(
    bench: Bench,
) -> None:
    odd, *others = await bench.claim(3)
    refuse(bench.direct, "ledger", odd.subscription_id, when="INSERT")
    settle_all(bench, [odd, *others])
    while len(bench.in_flight.held) > 1:
        await bench.next_batch()
    settle_all(bench, await bench.claim(4, "baby"))
    while len(bench.in_flight.held) > 1:
        await bench.next_batch()
    assert bench.line.tries == 1, "the batch was divided"
    bench.direct.rows("DROP TRIGGER refuse_ledger ON ledger")
    bench.clock.advance(APART_SECONDS)
    while bench.in_flight.held:
        await bench.next_batch()
    assert bench.outcomes() == ["sent"] * 7


@pytest.mark.parametrize("others", [0, 4])
@ensureDeferred
async def test_a_locked_result_is_tried_again_after_a_rest(
    bench: Bench, database_uri: str, others: int
) -> None:
    """It is not tried again at once, and it does not wait for results of other sends."""
    kept, *_ = await bench.claim(1 + others)
    lock = "SELECT FROM subscriptions WHERE id = %s FOR UPDATE"
    with locked(database_uri, lock, str(kept.subscription_id)):
        bench.completer.add(kept, SENT)
        bench.clock.advance(LINGER_SECONDS)
        await bench.next_batch()
        await bench.next_turns()
        assert bench.line.tries == 1
        bench.clock.advance(RETRY_SECONDS)
        await bench.next_batch()
        await bench.next_turns()
        assert bench.line.tries == 2
    bench.clock.advance(RETRY_SECONDS)
    await bench.next_batch()
    assert bench.outcomes() == ["sent"]
