"""A tick that a person stops sends nothing more, and its people are free for the next one."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from sbm.model.send import GivenBack, Send, Settled
from sbm.model.signature import Signature
from sbm.model.simulation import SimulationSettings
from sbm.operations.refusals import NoSuchRow
from sbm.operations.releases import release_tick
from sbm.operations.simulating import simulate_now
from sbm.operations.stopping import NothingToStop, stop_tick
from sbm.pipeline.ticks import Expansion
from sbm.store import ledger_balance, sends, ticks
from sbm.store.postgres.database import Database
from tests.arrange import Arranged

SENT = Settled(outcome="sent", stage="post", outbound_id="1")
ANN = Signature(actor="ann", reason="the texts are wrong")
STOPPED = "stopped by ann"


@define(eq=False, slots=False)
class Stopping:
    """A schedule with a message set, its ticks, and what becomes of their members."""

    database: Database
    direct: Arranged
    schedule: int = field(init=False)
    messageset: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.schedule = self.direct.schedule()
        self.messageset = self.direct.messageset("pregnancy", self.schedule, messages=9)
        self.expansion = Expansion(database=self.database, owed=lambda: None)

    def subscribe(self, count: int) -> list[UUID]:
        return self.direct.subscriptions(count, self.messageset, self.schedule)

    async def open(self, *, expanded: int = 0) -> int:
        opened = await self.database.transact(ticks.open_tick, schedule_id=self.schedule)
        assert opened is not None
        if expanded:
            await self.database.transact(ticks.expand, limit=expanded)
        return opened

    async def stop(self, tick: int) -> None:
        await self.database.transact(stop_tick, tick_id=tick, signature=ANN)

    async def rest(self) -> None:
        """Let the expansion go on until it finds nothing."""
        while await self.expansion.one_pass():
            pass

    async def claim(self, limit: int) -> list[Send]:
        return await self.database.transact(
            sends.claim, owner=uuid4(), limit=limit, lease=timedelta(minutes=1)
        )

    async def settle(self, claimed: list[Send], result: Settled | GivenBack = SENT) -> None:
        await self.database.transact(sends.settle, results=[(one, result) for one in claimed])

    def of(self, tick: int) -> Counter[str]:
        """How the sends of a tick ended, and those that are live; each trigger is there once."""
        rows = self.direct.rows(
            "SELECT send_id, CASE WHEN reason = '' THEN outcome ELSE reason END AS told"
            " FROM ledger WHERE tick_id = %s UNION ALL"
            " SELECT id, state FROM sends WHERE tick_id = %s",
            *(tick, tick),
        )
        assert len({row["send_id"] for row in rows}) == len(rows)
        return Counter(row["told"] for row in rows)

    async def balances(self) -> bool:
        ids = [row["id"] for row in self.direct.rows("SELECT id FROM ticks")]
        found = await self.database.transact(ledger_balance.count, ids=ids)
        return not any(one.missing for one in found)


@pytest.fixture
def stopping(database: Database, direct: Arranged) -> Stopping:
    return Stopping(database, direct)


@ensureDeferred
async def test_what_is_owed_and_who_was_not_expanded_is_skipped(stopping: Stopping) -> None:
    stopping.subscribe(5)
    tick = await stopping.open(expanded=2)
    await stopping.stop(tick)
    assert await stopping.claim(10) == []
    await stopping.rest()
    assert stopping.of(tick) == {STOPPED: 5}
    assert await stopping.balances()
    (row,) = stopping.direct.rows("SELECT * FROM ticks")
    assert (row["state"], row["triggers"], row["stopped_by"]) == ("expanded", 5, "ann")
    kinds = stopping.direct.rows(
        "SELECT DISTINCT outcome, stage, reason_kind(kind, outcome, stage, reason) FROM ledger"
    )
    assert [tuple(one.values()) for one in kinds] == [("skipped", "trigger", "stopped")]
    (entry,) = stopping.direct.rows("SELECT * FROM audit WHERE table_name IS NULL")
    assert (entry["actor"], entry["action"], entry["reason"]) == ("ann", "stop", ANN.reason)


@ensureDeferred
async def test_what_a_daemon_has_in_hand_goes_on(stopping: Stopping) -> None:
    stopping.subscribe(5)
    tick = await stopping.open(expanded=100)
    first, second = await stopping.claim(2)
    await stopping.stop(tick)
    await stopping.rest()
    assert stopping.of(tick) == {STOPPED: 3, "claimed": 2}
    await stopping.settle([first])
    await stopping.settle([second], GivenBack(delay=timedelta(hours=1), reason="away"))
    await stopping.rest()
    assert stopping.of(tick) == {STOPPED: 4, "sent": 1}
    assert await stopping.balances()


@ensureDeferred
async def test_each_is_sent_or_skipped_once_while_daemons_go_on_claiming(
    stopping: Stopping,
) -> None:
    stopping.subscribe(300)
    tick = await stopping.open(expanded=200)

    async def send() -> None:
        while claimed := await stopping.claim(7):
            await stopping.settle(claimed)

    async def stop() -> None:
        for _ in range(3):
            await stopping.settle(await stopping.claim(5))
        await stopping.stop(tick)
        await stopping.rest()

    await gatherResults([Deferred.fromCoroutine(one()) for one in (send, stop, send)])
    await stopping.rest()
    told = stopping.of(tick)
    assert set(told) <= {STOPPED, "sent"}
    assert told[STOPPED] > 0
    assert told.total() == 300
    assert await stopping.balances()


@ensureDeferred
async def test_the_next_tick_sends_to_those_who_were_skipped(stopping: Stopping) -> None:
    stopping.subscribe(5)
    first = await stopping.open(expanded=100)
    await stopping.settle(await stopping.claim(2))
    await stopping.stop(first)
    # Nothing was skipped yet, and already it is known that they are free.
    simulation = await stopping.database.read_snapshot(
        simulate_now, schedule_id=stopping.schedule, settings=SimulationSettings()
    )
    assert (simulation.sent.count, simulation.members) == (5, 5)
    second = await stopping.open()
    await stopping.rest()
    assert stopping.of(first) == {STOPPED: 3, "sent": 2}
    assert stopping.of(second) == {"owed": 5}
    assert await stopping.balances()


@ensureDeferred
async def test_a_tick_that_came_before_the_stop_sends_to_them_and_to_nobody_twice(
    stopping: Stopping,
) -> None:
    stopping.subscribe(6)
    first = await stopping.open(expanded=100)
    await stopping.settle(await stopping.claim(1))
    second = await stopping.open()
    await stopping.settle(await stopping.claim(1))
    in_hand = await stopping.claim(1)
    await stopping.stop(first)
    await stopping.rest()
    assert stopping.of(first) == {STOPPED: 3, "sent": 2, "claimed": 1}
    assert stopping.of(second) == {"owed": 3, "the tick before it was still being sent": 3}
    await stopping.settle(in_hand)
    third = await stopping.open()
    await stopping.rest()
    # It follows the second one: those to whom the first one was sent are not skipped again.
    assert stopping.of(third) == {"owed": 3, "the tick before it was still being sent": 3}
    assert await stopping.balances()


@ensureDeferred
async def test_it_is_stopped_once_and_cannot_be_released(stopping: Stopping) -> None:
    stopping.subscribe(2)
    stopping.direct.rows("UPDATE schedules SET canary = 1")
    tick = await stopping.open(expanded=1)
    await stopping.stop(tick)
    with pytest.raises(NothingToStop, match="was stopped by ann"):
        await stopping.stop(tick)
    assert (await stopping.database.transact(release_tick, tick_id=tick, signature=ANN)) is None
    await stopping.rest()
    assert stopping.of(tick) == {STOPPED: 2}


@ensureDeferred
async def test_it_is_stopped_during_a_pause(stopping: Stopping) -> None:
    stopping.subscribe(3)
    tick = await stopping.open(expanded=1)
    stopping.direct.rows(
        "INSERT INTO pauses (kind, reason, on_ticks, paused_by) VALUES"
        " ('operator', 'wrong texts', 'later', 'ann')"
    )
    await stopping.stop(tick)
    await stopping.rest()
    assert stopping.of(tick) == {STOPPED: 3}


@ensureDeferred
async def test_nothing_else_can_be_stopped(stopping: Stopping) -> None:
    with pytest.raises(NoSuchRow):
        await stopping.stop(1)
    (single,) = stopping.subscribe(1)
    await stopping.database.transact(sends.owe, subscription_id=single)
    with pytest.raises(NoSuchRow):
        await stopping.stop(stopping.direct.value("SELECT id FROM ticks"))
    stopping.direct.rows("DELETE FROM sends")
    empty = await stopping.open(expanded=10)
    await stopping.settle(await stopping.claim(1))
    with pytest.raises(NothingToStop, match="Nothing of tick"):
        await stopping.stop(empty)
