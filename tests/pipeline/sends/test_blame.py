"""Whom to blame: decided by what becomes of other people's calls at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterable
from random import Random
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.clients.outcomes import Faulty, Unavailable
from sbm.pipeline.breaker import TOLERATED, Breaker
from sbm.pipeline.sends.blame import BEFORE, FEW, MEMORY, MOST_FAILED, MOST_RECENT, Blame

REFUSED = Faulty("403", hint="is its token right?")


@define(eq=False, slots=False)
class Bench:
    clock: Clock = field(factory=Clock)
    answers_questions: bool | None = True
    asked: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.breaker = Breaker(service="ms", seconds=self.clock.seconds, draw=lambda: 1.0)
        self.blame = Blame(breaker=self.breaker, seconds=self.clock.seconds, is_well=self._is_well)

    async def _is_well(self, *, but: str) -> bool | None:
        self.asked.append(but)
        return self.answers_questions

    def well(self, count: int, name: str = "well") -> None:
        for number in range(count):
            self.blame.went_well(f"{name} {number}")

    async def fails(self, identity: str, *, faults: int = 0, took: float = 0.0) -> bool:
        """Whether a call that fails now is this person's own fault."""
        began_at = self.clock.seconds() - took
        return await self.blame.is_theirs(identity, REFUSED, began_at=began_at, faults=faults)

    async def all_fail(self, identities: Iterable[str], *, faults: int = 0) -> list[bool]:
        return [await self.fails(identity, faults=faults) for identity in identities]

    def reopen(self) -> None:
        """Let the pause be over."""
        self.clock.advance(self.breaker.wait.total_seconds())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def people(count: int, name: str = "bad") -> list[str]:
    return [f"{name} {number}" for number in range(count)]


@ensureDeferred
async def test_one_who_fails_while_others_go_through_is_at_fault(bench: Bench) -> None:
    bench.well(1)
    assert await bench.fails("bad")
    assert not bench.breaker.is_probing


@ensureDeferred
async def test_nobody_is_a_witness_against_themselves(bench: Bench) -> None:
    bench.blame.went_well("bad")
    assert not await bench.fails("bad")


@ensureDeferred
async def test_one_who_fails_alone_is_not_at_fault(bench: Bench) -> None:
    assert not await bench.fails("bad")
    assert bench.breaker.failures == 1


@ensureDeferred
async def test_others_who_went_through_some_time_ago_say_nothing(bench: Bench) -> None:
    bench.well(50)
    bench.clock.advance(BEFORE.total_seconds())
    assert await bench.fails("bad 1")
    bench.clock.advance(0.1)
    assert not await bench.fails("bad 2")


@ensureDeferred
async def test_others_who_went_through_during_a_long_call_do(bench: Bench) -> None:
    bench.well(50)
    bench.clock.advance(60)
    assert await bench.fails("bad", took=55)


@ensureDeferred
async def test_while_more_than_a_fifth_fail_nobody_is_at_fault(bench: Bench) -> None:
    bench.well(12)
    verdicts = []
    for identity in people(TOLERATED - 1):
        verdicts.append(await bench.fails(identity))
        bench.blame.went_well("well 0")
    assert verdicts == [True, True, True, False], "3 of 15 are a fifth, 4 of 16 are more"
    assert not bench.breaker.is_probing, "they are too few to say that it is away"
    assert not await bench.fails("blamed before", faults=3)
    assert not bench.breaker.is_probing, "that one says nothing new"
    assert not await bench.fails("one more")
    assert bench.breaker.is_probing


@ensureDeferred
async def test_a_fifth_of_many_is_not_yet_too_many(bench: Bench) -> None:
    for number in range(20):
        bench.well(4, f"well {number}")
        assert await bench.fails(f"bad {number}")


@ensureDeferred
async def test_those_who_are_tried_again_are_no_more_people_than_they_were(bench: Bench) -> None:
    """Sometimes another person is sent to: of the people called about just then, most fail."""
    bench.well(95)
    bad = people(5)
    for tries in range(20):
        assert await bench.all_fail(bad, faults=tries) == [True] * 5
        bench.clock.advance(30)
        bench.well(1, f"later {tries}")


@ensureDeferred
async def test_those_who_were_blamed_before_a_restart_are_no_share(bench: Bench) -> None:
    """Else it would take hundreds of others until they are few again."""
    bench.well(1)
    assert await bench.all_fail(people(50), faults=1) == [True] * 50


@ensureDeferred
async def test_more_than_a_fifth_are_too_many_when_the_others_are_done_as_well(
    bench: Bench,
) -> None:
    bad = people(30)
    for number, identity in enumerate(bad):
        bench.reopen()
        bench.well(2, f"well {number}")
        await bench.fails(identity)
    bench.reopen()
    bench.well(1)
    faults = Counter[str]()
    for _ in range(20):
        bench.clock.advance(60)
        for identity in bad:
            faults[identity] += await bench.fails(identity)
    assert not faults.total()
    assert bench.breaker.is_probing, "one at a time is tried, and the status says so"


@ensureDeferred
async def test_a_tick_of_any_size_does_not_make_them_too_many(bench: Bench) -> None:
    """Each of one in twenty is tried ten times, every six seconds, while others come."""
    for step in range(300):
        bench.clock.advance(0.4)
        bench.well(19, f"well {step}")
        for faults in range(min(10, step // 15 + 1)):
            assert await bench.fails(f"bad {step - 15 * faults}", faults=faults)


@ensureDeferred
async def test_after_an_hour_the_share_is_taken_anew(bench: Bench) -> None:
    bench.well(5)
    await bench.all_fail(people(3))
    assert not await bench.fails("bad 0")
    bench.clock.advance(MEMORY.total_seconds() + 1)
    bench.well(5)
    assert await bench.fails("bad 0")


@ensureDeferred
async def test_a_service_without_the_question_is_well_once_a_call_went_well(bench: Bench) -> None:
    bench.answers_questions = None
    assert not await bench.fails("blamed before", faults=1)
    bench.well(1)
    assert await bench.fails("bad")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30), st.sampled_from(["well", "fail", "blamed", "wait", "reopen"])
        ),
        max_size=80,
    )
)
def test_the_totals_are_those_of_the_people(calls: list[tuple[int, str]]) -> None:
    bench = Bench()
    for number, what in calls:
        if what == "well":
            bench.blame.went_well(str(number))
        elif what == "wait":
            bench.clock.advance(number * 60)
        elif what == "reopen":
            bench.reopen()
        else:
            told(bench.fails(str(number), faults=int(what == "blamed")))
        outcomes = Counter(outcome for outcome, _ in bench.blame._recent.values())
        assert +bench.blame._totals == outcomes
        times = [at for _, at in bench.blame._recent.values()]
        assert times == sorted(times)


@ensureDeferred
async def test_of_a_few_no_share_is_taken(bench: Bench) -> None:
    """In a programme of three people, one is a third."""
    bench.well(1)
    assert await bench.all_fail(people(FEW - 1)) == [True] * (FEW - 1)


@ensureDeferred
async def test_a_service_that_goes_away_in_the_middle_is_away_after_a_few(bench: Bench) -> None:
    bench.well(95)
    bench.clock.advance(0.1)
    verdicts = await bench.all_fail(people(10))
    assert verdicts == [True] * (TOLERATED - 1) + [False] * (11 - TOLERATED)
    assert bench.breaker.wait
    assert bench.breaker.reason == "403 (is its token right?)"


@ensureDeferred
async def test_those_who_hang_while_others_go_through_are_at_fault_in_the_end(
    bench: Bench,
) -> None:
    """All of them fail at the same time, when their time is over, and nobody else is left."""
    bench.clock.advance(1)
    bench.well(950)
    bench.clock.advance(29)
    assert all([await bench.fails(identity, took=29.5) for identity in people(50)])
    assert not bench.breaker.is_probing


@ensureDeferred
async def test_a_service_that_fails_half_of_all_calls_is_soon_away(bench: Bench) -> None:
    bench.well(500)
    for number in range(200):
        bench.clock.advance(0.004)
        bench.well(1, f"well {number}")
        if not await bench.fails(f"bad {number}"):
            break
    assert bench.breaker.is_probing


@ensureDeferred
async def test_so_many_people_are_remembered_and_no_more(bench: Bench) -> None:
    bench.well(MOST_RECENT + 10)
    assert len(bench.blame._recent) == MOST_RECENT


@ensureDeferred
async def test_while_the_service_is_away_nobody_is_at_fault(bench: Bench) -> None:
    bench.well(3)
    bench.breaker.open(Unavailable("away"))
    assert not await bench.fails("bad", faults=5)
    bench.reopen()
    assert not await bench.fails("bad", faults=5), "the probe"
    assert bench.asked == []


@ensureDeferred
async def test_those_who_failed_before_it_was_away_do_not_open_it_again(bench: Bench) -> None:
    await bench.all_fail(people(TOLERATED))
    bench.reopen()
    bench.well(1)
    assert not await bench.fails("bad 0"), "five of six fail"
    assert not bench.breaker.is_probing
    bench.well(4 * TOLERATED)
    assert await bench.fails("bad 0"), "a fifth is not too many"


@ensureDeferred
async def test_where_only_the_blamed_are_left_the_service_itself_is_asked(bench: Bench) -> None:
    bench.well(95)
    bench.clock.advance(3600)
    assert await bench.all_fail(people(50), faults=1) == [True] * 50
    assert bench.asked == people(50)
    assert not bench.breaker.is_probing


@ensureDeferred
async def test_those_who_failed_first_and_again_after_all_others_are_at_fault(
    bench: Bench,
) -> None:
    """They came first, so the service was taken for being away; then the others went through."""
    bad = people(2 * TOLERATED)
    await bench.all_fail(bad[:TOLERATED])
    bench.reopen()
    bench.clock.advance(1)
    bench.well(50)
    bench.clock.advance(3600)
    assert await bench.all_fail(bad[:TOLERATED]) == [True] * TOLERATED
    assert not bench.breaker.is_probing
    assert await bench.all_fail(bad[TOLERATED:]) == [False] * TOLERATED, "for the first time"


@ensureDeferred
async def test_if_it_does_not_answer_it_is_away_and_the_blamed_are_spared(bench: Bench) -> None:
    bench.answers_questions = False
    bench.well(95)
    assert await bench.all_fail(people(50), faults=1) == [False] * 50
    assert bench.breaker.wait
    assert len(bench.asked) == TOLERATED, "while it is away it is left alone"


@ensureDeferred
async def test_those_who_failed_are_known_until_a_call_about_them_goes_well(bench: Bench) -> None:
    await bench.all_fail(["a", "b", "a"])
    assert bench.blame.failed == ["b", "a"]
    bench.blame.went_well("a")
    assert bench.blame.failed == ["b"]


@ensureDeferred
async def test_so_many_are_known_and_no_more(bench: Bench) -> None:
    await bench.all_fail(people(MOST_FAILED + 10))
    assert len(bench.blame.failed) == MOST_FAILED
    assert "bad 0" not in bench.blame.failed


def told(verdict: Coroutine[Any, Any, bool]) -> bool:
    """The verdict of a bench, which waits for nothing."""
    done = Deferred.fromCoroutine(verdict)
    result = done.result
    assert isinstance(result, bool)
    return result


@given(st.randoms(use_true_random=False), st.integers(200, 600))
def test_where_one_in_twenty_is_refused_each_of_them_is_at_fault(
    random: Random, count: int
) -> None:
    """In any order: at the latest once their others have gone through."""
    bench = Bench()
    order = [f"{'bad' if number % 20 == 0 else 'good'} {number}" for number in range(count)]
    random.shuffle(order)
    bad = {identity for identity in order if identity.startswith("bad")}
    at_fault: set[str] = set()
    for _ in range(3):
        for identity in order:
            bench.reopen()
            if identity not in bad:
                bench.blame.went_well(identity)
            elif told(bench.fails(identity, faults=int(identity in at_fault))):
                at_fault.add(identity)
    assert at_fault == bad


@given(st.lists(st.sampled_from(people(40, "anybody")), min_size=1, max_size=200))
def test_where_everybody_is_refused_nobody_is_ever_at_fault(order: list[str]) -> None:
    bench = Bench()
    for identity in order:
        assert not told(bench.fails(identity))
        bench.clock.advance(1)


@given(st.integers(0, 2**32))
def test_where_a_third_of_all_calls_fail_hardly_anybody_is_blamed(seed: int) -> None:
    """A service that fails at random: nobody gets near the tries that end in a failure.

    The luck is drawn from a seed: Hypothesis would find the one who never has any.
    """
    random = Random(seed)
    bench = Bench()
    faults: Counter[str] = Counter()
    for _ in range(300):
        bench.reopen()
        identity = f"anybody {random.randrange(30)}"
        if random.random() > 1 / 3:
            bench.blame.went_well(identity)
        elif told(bench.fails(identity, faults=faults[identity])):
            faults[identity] += 1
    assert max(faults.values(), default=0) < 10
