"""Sends of unknown outcome, after the Message Sender was asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock

from sbm.clients.message_sender import Found
from sbm.clients.outcomes import CannotBeAsked, Faulty, Unavailable
from sbm.model.backoff import CAP
from sbm.model.send import Send, Unknown, UnknownSend
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends.reconciler import Reconciler
from sbm.pipeline.sends.retries import Retries
from sbm.settings.reading import Uncertain
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.telemetry import Telemetry
from tests.arrange import Arranged
from tests.pipeline.fakes import LEASE, nothing_in_flight

SETTLE = timedelta(seconds=120)


@define(eq=False, slots=False)
class Lister:
    """A Message Sender that is asked; three identities fit into a question."""

    outbounds: dict[str, tuple[str, ...]] = field(factory=dict)
    doubt: str = ""
    error: Exception | None = None
    asked: list[tuple[tuple[str, ...], datetime]] = field(factory=list)
    doubtful: str | None = None
    answers_others: bool | None = True

    async def is_well(self) -> bool | None:
        return self.answers_others

    def questions(self, identities: Any, *, after: datetime) -> list[tuple[str, ...]]:
        distinct = list(dict.fromkeys(identities))
        return [tuple(distinct[start : start + 3]) for start in range(0, len(distinct), 3)]

    async def find(
        self, identities: Sequence[str], *, keys: Sequence[str], after: datetime
    ) -> Found:
        self.asked.append((tuple(identities), after))
        if self.error is not None:
            raise self.error
        doubt = self.doubt or ("odd" if self.doubtful in identities else "")
        return Found(outbounds=self.outbounds, doubt=doubt)


@define(eq=False, slots=False)
class Bench:
    database: Database
    direct: Arranged
    uncertain: Uncertain = "at-least-once"

    def __attrs_post_init__(self) -> None:
        self.clock = Clock()
        self.owner = nothing_in_flight(self.clock).owner
        self.sender = Lister()
        self.breaker = Breaker(service="ms", seconds=self.clock.seconds, draw=lambda: 1.0)
        self.telemetry = Telemetry()
        self.wakes: list[None] = []
        self.reconciler = self.another()

    def another(self) -> Reconciler:
        """That of one more daemon."""
        make: Any = Reconciler
        reconciler: Reconciler = make(
            reactor=self.clock,
            database=self.database,
            message_sender=self.sender,
            breaker=self.breaker,
            telemetry=self.telemetry,
            settle=SETTLE,
            lease=LEASE,
            uncertain=self.uncertain,
            retries=Retries(max_faults=3, cap=CAP, draw=lambda: 1.0),
            owed=lambda: self.wakes.append(None),
        )
        return reconciler

    async def unknown(self, count: int = 1, *, late: bool = False) -> list[Send]:
        """Sends of which nobody knows; ``late``: the settle time is over."""
        schedule = self.direct.schedule()
        messageset = self.direct.messageset("pregnancy", schedule)
        self.direct.subscriptions(count, messageset, schedule)
        await self.database.transact(ticks.open_tick, schedule_id=schedule)
        await self.database.transact(ticks.expand, limit=1000)
        claimed = await self.claim()
        timed_out = Unknown(reason="timed out")
        await self.database.transact(sends.settle, results=[(one, timed_out) for one in claimed])
        # From when on the settle time runs is a test of its own.
        self.direct.rows("UPDATE sends SET unknown_since = now()")
        if late:
            self.pass_by(SETTLE)
        return claimed

    async def claim(self) -> list[Send]:
        return await self.database.transact(sends.claim, owner=self.owner, limit=100, lease=LEASE)

    def pass_by(self, time: timedelta) -> None:
        """Let time go by in the database, and here."""
        self.direct.rows(
            "UPDATE sends SET unknown_since = unknown_since - %s, due_at = due_at - %s", time, time
        )
        self.clock.advance(time.total_seconds())

    def states(self) -> dict[UUID, str]:
        rows = self.direct.rows("SELECT id, state FROM sends")
        return {row["id"]: row["state"] for row in rows}

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(entry["outcome"], entry["outbound_id"]) for entry in self.direct.ledger()]


def at_once(asked: Sequence[UnknownSend]) -> list[tuple[UnknownSend, timedelta]]:
    """The sends that are owed again without a delay."""
    return [(one, timedelta(0)) for one in asked]


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_what_is_found_is_adopted_at_once(bench: Bench) -> None:
    (send,) = await bench.unknown()
    bench.telemetry.pending_metrics.is_kept = True
    bench.sender.outbounds = {str(send.id): ("o",)}
    assert await bench.reconciler.one_pass() == 1
    assert bench.telemetry.pending_metrics.values == {
        "message.text.pregnancy.sum": 1,
        "message.text.sum": 1,
    }
    assert (bench.outcomes(), bench.states()) == ([("adopted", "o")], {})
    assert bench.direct.value("SELECT next_sequence_number FROM subscriptions") == 2
    assert bench.telemetry.counts == {"sends.adopted": 1}
    assert bench.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_what_is_found_twice_is_adopted_once_and_the_double_is_kept(bench: Bench) -> None:
    (send,) = await bench.unknown()
    bench.sender.outbounds = {str(send.id): ("older", "newer")}
    await bench.reconciler.one_pass()
    assert bench.outcomes() == [("adopted", "older")]
    assert bench.direct.value("SELECT outbound_id FROM doubles") == "newer"
    assert bench.telemetry.counts == {"sends.adopted": 1, "sends.doubled": 1}


@ensureDeferred
async def test_absence_proves_nothing_before_the_settle_time_is_over(bench: Bench) -> None:
    (send,) = await bench.unknown()
    await bench.reconciler.one_pass()
    bench.pass_by(SETTLE - timedelta(seconds=5))
    await bench.reconciler.one_pass()
    assert len(bench.sender.asked) == 2
    assert bench.states() == {send.id: "unknown"}
    bench.pass_by(timedelta(seconds=5))
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "owed"}
    assert bench.wakes
    (again,) = await bench.claim()
    assert (again.id, again.attempt, again.faults) == (send.id, 2, 0)


@ensureDeferred
async def test_a_question_that_was_asked_too_early_stays_so_however_late_its_answer(
    bench: Bench,
) -> None:
    (send,) = await bench.unknown()
    find = bench.sender.find

    async def slowly(identities: Sequence[str], *, keys: Sequence[str], after: datetime) -> Found:
        bench.direct.rows("UPDATE sends SET unknown_since = unknown_since - %s", 2 * SETTLE)
        return await find(identities, keys=keys, after=after)

    bench.sender.find = slowly  # type: ignore[method-assign]
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "unknown"}


@ensureDeferred
async def test_slow_answers_do_not_keep_a_pass_beyond_its_lease(bench: Bench) -> None:
    await bench.unknown(4)
    find = bench.sender.find

    async def slowly(identities: Sequence[str], *, keys: Sequence[str], after: datetime) -> Found:
        bench.clock.advance(LEASE.total_seconds())
        assert len(keys) == len(identities)
        return await find(identities, keys=keys, after=after)

    bench.sender.find = slowly  # type: ignore[method-assign]
    assert await bench.reconciler.one_pass() == 4
    assert len(bench.sender.asked) == 1


@ensureDeferred
async def test_the_settle_time_runs_from_the_end_of_the_lease(bench: Bench) -> None:
    (send,) = await bench.unknown()
    bench.direct.rows(
        "UPDATE sends SET state = 'claimed', owner = %s, lease_until = now() - interval '5 s',"
        " unknown_since = NULL",
        bench.owner,
    )
    await bench.database.transact(sends.expire, limit=10)
    bench.pass_by(SETTLE - timedelta(seconds=10))
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "unknown"}
    bench.pass_by(timedelta(seconds=10))
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "owed"}


@ensureDeferred
async def test_it_runs_from_the_later_of_the_two_ends(bench: Bench) -> None:
    """A time-out is known before the lease of the attempt ends."""
    (send,) = await bench.unknown(late=True)
    await bench.reconciler.one_pass()
    (claimed,) = await bench.claim()
    unknown = Unknown(reason="timed out")
    await bench.database.transact(sends.settle, results=[(claimed, unknown)])
    bench.pass_by(SETTLE)
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "unknown"}
    bench.pass_by(LEASE)
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "owed"}


@ensureDeferred
async def test_in_doubt_nothing_is_owed_again_and_what_is_there_is_adopted(bench: Bench) -> None:
    here, missing = await bench.unknown(2, late=True)
    bench.sender.outbounds, bench.sender.doubt = {str(here.id): ("o",)}, "a bad row"
    await bench.reconciler.one_pass()
    assert (bench.outcomes(), bench.states()) == ([("adopted", "o")], {missing.id: "unknown"})


@ensureDeferred
async def test_one_that_leaves_doubts_is_soon_asked_about_alone(bench: Bench) -> None:
    claimed = await bench.unknown(3, late=True)
    bench.sender.doubtful = claimed[0].identity
    await bench.reconciler.one_pass()
    assert set(bench.states().values()) == {"unknown"}
    bench.pass_by(2 * SETTLE)
    await bench.reconciler.one_pass()
    assert sorted(len(identities) for identities, _ in bench.sender.asked) == [1, 1, 1, 3]
    assert [state for state in bench.states().values() if state == "unknown"] == ["unknown"]
    assert bench.states()[claimed[0].id] == "unknown"


@ensureDeferred
async def test_questions_are_as_many_as_are_needed_and_go_back_a_day(bench: Bench) -> None:
    await bench.unknown(7)
    first = bench.direct.value("SELECT min(first_attempt_at) FROM sends")
    assert await bench.reconciler.one_pass() == 7
    assert [len(identities) for identities, _ in bench.sender.asked] == [3, 3, 1]
    assert {after for _, after in bench.sender.asked} == {first - timedelta(hours=24)}


@ensureDeferred
async def test_nobody_else_asks_meanwhile_and_everybody_once_the_lease_is_over(
    bench: Bench,
) -> None:
    await bench.unknown(late=True)
    taken = await bench.database.transact(sends.take_unknown, limit=10, settle=SETTLE, lease=LEASE)
    assert len(taken) == 1
    assert await bench.another().one_pass() == 0
    bench.pass_by(LEASE)
    assert await bench.another().one_pass() == 1


@ensureDeferred
async def test_an_answer_that_comes_after_the_lease_does_not_owe_anything_again(
    bench: Bench,
) -> None:
    """Another daemon has asked since, and the send is already on its way."""
    (send,) = await bench.unknown(late=True)
    slow = await bench.database.transact(sends.take_unknown, limit=9, settle=SETTLE, lease=LEASE)
    bench.pass_by(LEASE)
    await bench.another().one_pass()
    assert bench.states() == {send.id: "owed"}
    (again,) = await bench.claim()
    await bench.database.transact(sends.settle, results=[(again, Unknown(reason="timed out"))])
    assert (
        await bench.database.transact(sends.owe_again, absent=at_once(slow), reason="absent") == 0
    )
    assert bench.states() == {send.id: "unknown"}


@ensureDeferred
async def test_an_owner_that_comes_back_with_less_than_an_outcome_voids_the_question(
    bench: Bench,
) -> None:
    (send,) = await bench.unknown(late=True)
    asked = await bench.database.transact(sends.take_unknown, limit=9, settle=SETTLE, lease=LEASE)
    await bench.database.transact(sends.settle, results=[(send, Unknown(reason="timed out"))])
    assert (
        await bench.database.transact(sends.owe_again, absent=at_once(asked), reason="absent") == 0
    )


@ensureDeferred
async def test_while_the_message_sender_is_away_nobody_is_asked_about(bench: Bench) -> None:
    (send,) = await bench.unknown(late=True)
    bench.sender.error = Unavailable("busy", timedelta(seconds=30), at_once=True)
    await bench.reconciler.one_pass()
    assert bench.breaker.wait == timedelta(seconds=30)
    bench.direct.rows("UPDATE sends SET due_at = now()")
    assert await bench.reconciler.one_pass() == 0
    assert (len(bench.sender.asked), bench.states()) == (1, {send.id: "unknown"})


@ensureDeferred
async def test_the_first_answer_that_it_is_away_saves_the_other_questions(bench: Bench) -> None:
    await bench.unknown(9)
    bench.sender.error = Unavailable("busy", timedelta(seconds=30), at_once=True)
    await bench.reconciler.one_pass()
    assert len(bench.sender.asked) == 1


@ensureDeferred
async def test_a_good_answer_to_a_question_says_nothing_about_posts(bench: Bench) -> None:
    await bench.unknown()
    bench.breaker.fail(Unavailable("closed", at_once=True))
    bench.clock.advance(1)
    await bench.reconciler.one_pass()
    assert bench.sender.asked
    assert bench.breaker.is_probing


@ensureDeferred
async def test_a_server_error_is_asked_about_one_by_one(bench: Bench) -> None:
    await bench.unknown(3)
    bench.sender.error = Faulty("500")
    await bench.reconciler.one_pass()
    bench.pass_by(SETTLE)
    bench.sender.error = None
    await bench.reconciler.one_pass()
    assert [len(identities) for identities, _ in bench.sender.asked] == [3, 1, 1, 1]


# A Message Sender that cannot be asked


async def decide(bench: Bench) -> None:
    """Ask until it is certain that there is nothing to ask."""
    bench.sender.error, bench.sender.answers_others = CannotBeAsked("404"), None
    for _ in range(2):
        await bench.reconciler.one_pass()
        bench.pass_by(2 * SETTLE)
    await bench.reconciler.one_pass()


@pytest.mark.parametrize("uncertain", ["at-least-once", "at-most-once"])
@pytest.mark.parametrize("answers_others", [True, False])
@ensureDeferred
async def test_if_only_the_question_about_these_is_not_found_nothing_is_decided(
    database: Database, direct: Arranged, uncertain: Uncertain, answers_others: bool
) -> None:
    """Something in between dislikes the question: owed again, they would get it twice."""
    bench = Bench(database, direct, uncertain)
    (send,) = await bench.unknown(late=True)
    bench.sender.error = CannotBeAsked("404")
    bench.sender.answers_others = answers_others
    for _ in range(4):
        await bench.reconciler.one_pass()
        bench.pass_by(2 * SETTLE)
    assert bench.states() == {send.id: "unknown"}


@ensureDeferred
async def test_at_least_once_it_is_owed_again(bench: Bench) -> None:
    (send,) = await bench.unknown(late=True)
    await decide(bench)
    assert bench.states() == {send.id: "owed"}
    (again,) = await bench.claim()
    assert (again.id, again.faults) == (send.id, 0)


@ensureDeferred
async def test_at_most_once_it_is_a_failure_and_the_subscription_goes_on(
    database: Database, direct: Arranged
) -> None:
    bench = Bench(database, direct, "at-most-once")
    (send,) = await bench.unknown(late=True)
    await decide(bench)
    assert (bench.states(), bench.outcomes()) == ({}, [("failed", None)])
    assert direct.value("SELECT next_sequence_number FROM subscriptions") == 2
    assert direct.value("SELECT send_id FROM failed_tasks") == send.id
    assert direct.unbalanced_ticks() == []


@pytest.mark.parametrize("uncertain", ["at-least-once", "at-most-once"])
@ensureDeferred
async def test_a_list_that_is_missing_for_a_moment_decides_nothing(
    database: Database, direct: Arranged, uncertain: Uncertain
) -> None:
    bench = Bench(database, direct, uncertain)
    (send,) = await bench.unknown(late=True)
    bench.sender.error, bench.sender.answers_others = CannotBeAsked("404"), None
    await bench.reconciler.one_pass()
    assert bench.states() == {send.id: "unknown"}
    bench.sender.error, bench.sender.outbounds = None, {str(send.id): ("o",)}
    bench.pass_by(2 * SETTLE)
    await bench.reconciler.one_pass()
    assert bench.outcomes() == [("adopted", "o")]


@ensureDeferred
async def test_what_its_owner_saw_go_wrong_counts_once_it_is_proven_absent(bench: Bench) -> None:
    await bench.unknown(1)
    bench.direct.rows("UPDATE sends SET is_fault = true, faults = 1, answers = '{500}'")
    bench.pass_by(SETTLE)
    await bench.reconciler.one_pass()
    (row,) = bench.direct.rows("SELECT state, faults, is_fault, due_at - now() AS delay FROM sends")
    assert (row["state"], row["faults"], row["is_fault"]) == ("owed", 2, False)
    assert row["delay"] > timedelta(seconds=1), "2 s, less what has passed since"


@ensureDeferred
async def test_an_owner_that_says_so_after_its_lease_blames_nobody(bench: Bench) -> None:
    (send,) = await bench.unknown(late=True)
    seen = Unknown(reason="reset", is_fault=True)
    bench.direct.rows("UPDATE sends SET attempt = attempt")
    await bench.database.transact(sends.settle, results=[(send, seen)])
    (row,) = bench.direct.rows("SELECT is_fault, answers FROM sends")
    assert (row["is_fault"], row["answers"]) == (False, [])


@ensureDeferred
async def test_each_answer_is_kept_once_and_only_a_few(bench: Bench) -> None:
    await bench.unknown(1)
    for answer in ("a", "b", "a", "c", "d", "e", "f"):
        bench.direct.rows("UPDATE sends SET state = 'owed', unknown_since = NULL, due_at = now()")
        (send,) = await bench.claim()
        seen = Unknown(reason=answer, is_fault=True)
        await bench.database.transact(sends.settle, results=[(send, seen)])
    assert bench.direct.value("SELECT answers FROM sends") == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("answers_others", [True, False])
@ensureDeferred
async def test_a_question_that_is_refused_is_the_services_fault_only_if_all_are(
    bench: Bench, answers_others: bool
) -> None:
    await bench.unknown()
    bench.sender.error = Faulty("403")
    bench.sender.answers_others = answers_others
    await bench.reconciler.one_pass()
    assert bench.breaker.failures == (0 if answers_others else 1)
