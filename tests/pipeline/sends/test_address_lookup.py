"""Without an address: whom to blame, the service or the one whom it was asked about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.task import Clock

from sbm.clients.outcomes import Faulty, NotKnown, Rejected, Unavailable
from sbm.model.durations import LongestDelay
from sbm.model.send import GivenBack, Settled
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.sends.address_lookup import SECOND_LOOK, AddressLookup
from sbm.pipeline.sends.retries import Retries
from tests.pipeline.fakes import another_send

MAX_FAULTS = 3
ODD = Faulty("500")
UNKNOWN = NotKnown("not known")


@define(eq=False, slots=False)
class Bench:
    """An Identity Store that answers as it is told: for each identity, or else for all."""

    clock: Clock = field(factory=Clock)
    answers: dict[str, Any] = field(factory=dict)
    otherwise: Any = "+27820001001"
    asked: list[str] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.breaker = Breaker(service="is", seconds=self.clock.seconds, draw=lambda: 1.0)
        retries = Retries(
            max_faults=MAX_FAULTS, cap=LongestDelay(timedelta(seconds=60)), draw=lambda: 1.0
        )
        store: Any = self
        self.address_lookup = AddressLookup(
            identity_store=store, breaker=self.breaker, retries=retries, seconds=self.clock.seconds
        )

    async def address_of(self, identity: str) -> str:
        self.asked.append(identity)
        answer = self.answers.get(identity, self.otherwise)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async def of(self, identity: str, **send: Any) -> str | GivenBack | Settled:
        send = {"identity": identity, **send}
        return await self.address_lookup.address_of(evolve(another_send(), **send))

    async def twice(self, identity: str) -> str | GivenBack | Settled:
        """The result of the second look-up."""
        await self.of(identity)
        self.clock.advance(SECOND_LOOK.total_seconds())
        return await self.of(identity)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def unaddressed(reason: str) -> Settled:
    return Settled(outcome="failed", stage="address", reason=reason, is_unaddressed=True)


@ensureDeferred
async def test_an_address_is_an_address(bench: Bench) -> None:
    assert await bench.of("a") == "+27820001001"


@ensureDeferred
async def test_who_has_no_address_is_marked_at_once(bench: Bench) -> None:
    bench.answers["a"] = Rejected("no address")
    assert await bench.of("a") == unaddressed("no address")


# An answer of no use


@ensureDeferred
async def test_where_another_is_answered_the_fault_is_this_ones_own(bench: Bench) -> None:
    await bench.of("well")
    bench.answers["a"] = ODD
    for _ in range(20):
        result = await bench.of("a")
        assert result == GivenBack(reason="500", delay=timedelta(seconds=1), is_fault=True)
    assert not bench.breaker.is_probing


@ensureDeferred
async def test_tries_that_are_spent_on_its_own_fault_end_in_a_failure(bench: Bench) -> None:
    await bench.of("well")
    bench.answers["a"] = ODD
    delays = []
    for faults in range(MAX_FAULTS - 1):
        result = await bench.of("a", faults=faults)
        assert isinstance(result, GivenBack)
        delays.append(result.delay.total_seconds())
    assert delays == [1, 2]
    result = await bench.of("a", faults=MAX_FAULTS - 1)
    assert result == Settled(outcome="failed", stage="address", reason="500 (tried 3 times)")


@ensureDeferred
async def test_where_nobody_is_answered_the_service_is_away_and_no_try_is_spent(
    bench: Bench,
) -> None:
    await bench.of("well")
    bench.otherwise = ODD
    for number in range(20):
        result = await bench.of(f"a{number}", faults=MAX_FAULTS - 1)
        assert isinstance(result, GivenBack)
        assert not result.is_fault
    assert bench.breaker.wait


@ensureDeferred
async def test_a_service_that_never_answered_well_is_away_whoever_is_asked_about(
    bench: Bench,
) -> None:
    bench.otherwise = ODD
    result = await bench.of("a", faults=MAX_FAULTS - 1)
    assert isinstance(result, GivenBack)
    assert not result.is_fault


@ensureDeferred
async def test_nobody_is_a_witness_for_herself(bench: Bench) -> None:
    await bench.of("a")
    bench.answers["a"] = ODD
    result = await bench.of("a", faults=MAX_FAULTS - 1)
    assert isinstance(result, GivenBack)
    assert bench.asked == ["a", "a"]


@ensureDeferred
async def test_a_service_that_is_away_is_nobodys_fault(bench: Bench) -> None:
    await bench.of("well")
    bench.answers["a"] = Unavailable("refused")
    result = await bench.of("a", faults=MAX_FAULTS - 1)
    assert isinstance(result, GivenBack)
    assert not result.is_fault
    assert bench.breaker.failures == 1


# Not known


@ensureDeferred
async def test_that_somebody_is_not_known_is_believed_at_the_second_look(bench: Bench) -> None:
    await bench.of("well")
    bench.answers["a"] = UNKNOWN
    assert await bench.of("a") == GivenBack(reason="not known", delay=SECOND_LOOK)
    assert await bench.of("a") == GivenBack(reason="not known", delay=SECOND_LOOK)
    bench.clock.advance(SECOND_LOOK.total_seconds())
    assert await bench.of("a") == unaddressed("not known")


@ensureDeferred
async def test_somebody_who_is_not_known_and_alone_is_marked(bench: Bench) -> None:
    bench.otherwise = UNKNOWN
    assert await bench.twice("a") == unaddressed("not known")


@ensureDeferred
async def test_where_most_are_not_known_the_address_is_wrong_and_nobody_is_marked(
    bench: Bench,
) -> None:
    bench.otherwise = UNKNOWN
    results = [await bench.of(f"a{number}") for number in range(10)]
    bench.clock.advance(SECOND_LOOK.total_seconds())
    results += [await bench.of(f"a{number}") for number in range(10)]
    assert {type(result) for result in results} == {GivenBack}
    assert bench.breaker.wait
    assert "address" in bench.breaker.reason


@ensureDeferred
async def test_where_the_service_turns_into_another_one_nobody_is_marked(bench: Bench) -> None:
    """However many it knew before."""
    for number in range(100):
        await bench.of(f"well{number}")
    bench.otherwise = UNKNOWN
    result = await bench.twice("a")
    assert isinstance(result, GivenBack)
    assert bench.breaker.wait


@ensureDeferred
async def test_one_who_comes_to_be_known_between_the_looks_is_as_good_as_any(
    bench: Bench,
) -> None:
    await bench.of("well")
    bench.answers["a"] = UNKNOWN
    await bench.of("a")
    del bench.answers["a"]
    assert await bench.of("a") == "+27820001001"
    bench.answers["a"] = UNKNOWN
    bench.clock.advance(SECOND_LOOK.total_seconds())
    assert await bench.of("a") == GivenBack(reason="not known", delay=SECOND_LOOK)


@ensureDeferred
async def test_a_few_of_many_are_marked_and_the_service_is_there(bench: Bench) -> None:
    bench.answers = {f"a{number}": UNKNOWN for number in range(0, 40, 4)}
    for number in range(40):
        await bench.of(f"a{number}")
    bench.clock.advance(SECOND_LOOK.total_seconds())
    for identity in bench.answers:
        assert await bench.of(identity) == unaddressed("not known")
    assert not bench.breaker.is_probing


@ensureDeferred
async def test_a_witness_that_the_service_forgot_is_asked_once(bench: Bench) -> None:
    await bench.of("older")
    await bench.of("witness")
    bench.answers = {"a": ODD, "witness": UNKNOWN}
    await bench.of("a")
    bench.clock.advance(bench.breaker.wait.total_seconds())
    result = await bench.of("a")
    assert isinstance(result, GivenBack)
    assert result.is_fault
    assert bench.asked == ["older", "witness", "a", "witness", "a", "older"]
