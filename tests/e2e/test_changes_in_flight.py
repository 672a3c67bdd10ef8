"""Clients who change or delete a subscription while its message is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import treq
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.e2e.end_to_end import World, pause
from tests.e2e.gates import Gate, gated

PREPEND = {"prepend_next_delivery": "Hello", "old": 1}

# What a client writes, and what the subscription holds when the send is settled: the client's
# values, and the step to the next message unless it would step over them.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "number": (
        {"next_sequence_number": 3},
        {"next_sequence_number": 3, "active": True},
    ),
    "messageset": (
        {"messageset": "other"},
        {"messageset_id": "other", "next_sequence_number": 1, "active": True},
    ),
    "lang": (
        {"lang": "zul_ZA"},
        {"lang": "zul_ZA", "next_sequence_number": 2},
    ),
    "other metadata": (
        {"metadata": {"prepend_next_delivery": "Hello", "new": 2}},
        {"metadata": {"prepend_next_delivery": None, "new": 2}, "next_sequence_number": 2},
    ),
    "another prepend": (
        {"metadata": {"prepend_next_delivery": "Good-bye", "new": 2}},
        {
            "metadata": {"prepend_next_delivery": "Good-bye", "new": 2},
            "next_sequence_number": 2,
        },
    ),
    "no metadata": (
        {"metadata": None},
        {"metadata": None, "next_sequence_number": 2},
    ),
    "not active": (
        {"active": False},
        {"active": False, "completed": False, "process_status": 0},
    ),
    "completed": (
        {"completed": True, "active": False},
        {"completed": True, "active": False, "process_status": 2, "next_sequence_number": 1},
    ),
    "status": (
        {"process_status": -2},
        {"process_status": -2, "next_sequence_number": 2},
    ),
    "nothing": (
        {},
        {
            "process_status": 0,
            "next_sequence_number": 2,
            "metadata": {"prepend_next_delivery": None, "old": 1},
        },
    ),
}


@define(eq=False)
class InFlight:
    """One subscription whose send is in flight, and held until ``gate`` is opened."""

    seed: World
    mother: Any
    gate: Gate
    other: int

    @property
    def path(self) -> str:
        return f"/api/v1/subscriptions/{self.mother}/"

    def values(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same, with the other message set's number in place of its name."""
        return {name: self.other if value == "other" else value for name, value in given.items()}

    async def was_sent_once(self) -> None:
        """Let it go on to its end, and see that it went out and is told in the ledger."""
        self.gate.open()
        await self.seed.settled()
        (outbound,) = self.seed.sender.outbounds()
        assert outbound.said.content == "Hello\npregnancy 1 eng_ZA"
        (entry,) = self.seed.direct.ledger()
        assert (entry["outcome"], entry["outbound_id"]) == ("sent", outbound.id)
        assert (entry["subscription_id"], entry["sequence_number"]) == (self.mother, 1)
        assert self.seed.direct.unbalanced_ticks() == []

    def holds(self, expected: dict[str, Any]) -> None:
        subscription = self.seed.direct.subscription(self.mother)
        expected = self.values(expected)
        assert {name: subscription[name] for name in expected} == expected


async def in_flight(seed: World, stage: str) -> InFlight:
    """A send that was claimed, and has come to this stage."""
    schedule = seed.direct.schedule()
    langs = ("eng_ZA", "zul_ZA")
    messageset = seed.direct.messageset("pregnancy", schedule, langs=langs)
    other = seed.direct.messageset("baby", schedule, langs=langs)
    (mother,) = seed.subscribe(1, messageset, schedule, metadata=PREPEND)
    gate = (await gated(seed)).only(stage)
    seed.start()
    assert (await seed.call("POST", f"/api/v1/subscriptions/{mother}/send"))[0] == 201
    await seed.until(lambda: gate.waiting)
    return InFlight(seed, mother, gate, other)


STAGES = ["address", "storing", "answer"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("change", CHANGES)
@ensureDeferred
async def test_a_change_while_its_send_is_in_flight_stands_and_the_send_is_told(
    seed: World, stage: str, change: str
) -> None:
    given, expected = CHANGES[change]
    held = await in_flight(seed, stage)
    status, _ = await seed.call("PATCH", held.path, held.values(given))
    assert status == 200
    await held.was_sent_once()
    held.holds(expected)


@pytest.mark.parametrize("stage", STAGES)
@ensureDeferred
async def test_whoever_writes_back_what_she_read_while_a_send_is_in_flight_changes_nothing(
    seed: World, stage: str
) -> None:
    """The client reads that it is in process, and PUTs that back; it must not stay so."""
    held = await in_flight(seed, stage)
    _, read = await seed.call("GET", held.path)
    assert read["process_status"] == 1
    status, written = await seed.call("PUT", held.path, read)
    assert (status, written["process_status"]) == (200, 1)
    await held.was_sent_once()
    held.holds(CHANGES["nothing"][1])


@pytest.mark.parametrize("stage", STAGES)
@ensureDeferred
async def test_who_is_deleted_while_her_send_is_in_flight_leaves_its_row_in_the_ledger(
    seed: World, stage: str
) -> None:
    held = await in_flight(seed, stage)
    assert await seed.call("DELETE", held.path) == (204, None)
    await held.was_sent_once()
    assert seed.direct.rows("SELECT * FROM subscriptions") == []


# While it is settled: the change has the subscription, and the settling waits for it.


@pytest.fixture
def locks(database_uri: str) -> Iterator[Any]:
    """A transaction that holds what it has read, until it is rolled back."""
    with closing(psycopg2.connect(database_uri)) as connection:
        yield connection


async def waits(seed: World, count: int) -> None:
    """Return when so many others wait for a lock."""
    await seed.until(
        lambda: (
            seed.direct.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
            == count
        )
    )


async def settling_has_stepped_over_it(seed: World) -> None:
    """Return when the result waits, because its subscription is locked."""
    told = "sbm_sends_locked_total 0.0"
    while told.endswith(" 0.0"):
        response = await treq.get(f"{seed.daemons[-1][1]}/metrics", persistent=False)
        lines = (await response.text()).splitlines()
        (told,) = (line for line in lines if line.startswith("sbm_sends_locked_total "))
        await pause(0.05)


@pytest.mark.parametrize("change", CHANGES)
@ensureDeferred
async def test_a_change_that_comes_before_the_settling_stands(
    seed: World, locks: Any, change: str
) -> None:
    given, expected = CHANGES[change]
    held = await in_flight(seed, "answer")
    _, read = await seed.call("GET", held.path)
    with locks.cursor() as cursor:  # which the change has to look up, when it has its row
        cursor.execute("SELECT FROM messagesets FOR UPDATE")
    body = read | held.values(given)
    changing = Deferred.fromCoroutine(seed.call("PUT", held.path, body))
    await waits(seed, 1)
    held.gate.open()
    await settling_has_stepped_over_it(seed)
    locks.rollback()
    status, _ = await changing
    assert status == 200
    await held.was_sent_once()
    held.holds(expected)


@ensureDeferred
async def test_a_deletion_that_comes_before_the_settling_stands(seed: World, locks: Any) -> None:
    held = await in_flight(seed, "answer")
    seed.direct.rows(
        "INSERT INTO behind_subscriptions (subscription_id, messages_behind,"
        " current_messageset_id, current_sequence_number, expected_messageset_id,"
        " expected_sequence_number) VALUES (%s, 1, %s, 1, %s, 2)",
        *(held.mother, held.other, held.other),
    )
    with locks.cursor() as cursor:  # which goes with the subscription
        cursor.execute("SELECT FROM behind_subscriptions FOR UPDATE")
    deleting = Deferred.fromCoroutine(seed.call("DELETE", held.path))
    await waits(seed, 1)
    held.gate.open()
    await settling_has_stepped_over_it(seed)
    locks.rollback()
    assert await deleting == (204, None)
    await held.was_sent_once()
    assert seed.direct.rows("SELECT * FROM subscriptions") == []


@ensureDeferred
async def test_what_would_be_the_last_message_begins_no_next_set_for_who_was_made_inactive(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    baby = seed.direct.messageset("baby", schedule)
    pregnancy = seed.direct.messageset("pregnancy", schedule, messages=1, next_set=baby)
    (mother,) = seed.subscribe(1, pregnancy, schedule)
    answers = (await gated(seed)).only("answer")
    seed.start()
    assert (await seed.call("POST", f"/api/v1/subscriptions/{mother}/send"))[0] == 201
    await seed.until(lambda: answers.waiting)
    status, _ = await seed.call("PATCH", f"/api/v1/subscriptions/{mother}/", {"active": False})
    assert status == 200
    answers.open()
    await seed.settled()
    (entry,) = seed.direct.ledger()
    assert entry["outcome"] == "sent"
    (row,) = seed.direct.rows("SELECT id, active, completed FROM subscriptions")
    assert row == {"id": mother, "active": False, "completed": True}
