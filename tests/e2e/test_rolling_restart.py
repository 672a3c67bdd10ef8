"""Two daemons are restarted by turns while they send: nobody notices."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.e2e.daemons import DaemonProcess, processes
from tests.e2e.end_to_end import World

MOTHERS = 300
SINGLES = 40
MESSAGES = 200
ROUNDS = 2


@define(eq=False)
class Balancer:
    """Passes requests on to the running daemons in turn, as a load balancer does."""

    seed: World
    up: list[DaemonProcess]
    under_way: Counter[str] = field(factory=Counter)

    async def post(self, path: str) -> tuple[int, Any]:
        daemon = self.up[0]
        self.up.append(self.up.pop(0))
        self.under_way[daemon.url] += 1
        try:
            return await self.seed.call("POST", path, at=daemon.url)
        finally:
            self.under_way[daemon.url] -= 1

    async def restart(self, daemon: DaemonProcess) -> None:
        self.up.remove(daemon)
        await self.seed.until(lambda: not self.under_way[daemon.url])
        assert await daemon.end() == 0, daemon.output
        await daemon.start()
        self.up.append(daemon)


@define(eq=False)
class Load:
    """Ticks of a schedule and single POST-backs, round after round; it knows what is owed by it."""

    seed: World
    balancer: Balancer
    schedule: int
    mothers: list[UUID]
    owed: Counter[UUID] = field(factory=Counter)

    async def one_round(self) -> None:
        status, _ = await self.balancer.post(f"/api/v1/schedule/{self.schedule}/send/")
        assert status == 202
        self.owed.update(self.mothers)
        await self.seed.until(lambda: not self.seed.direct.value(OPEN_TICKS))
        await self.seed.settled()
        singles = self.mothers[:SINGLES]
        for start in range(0, SINGLES, 10):
            answers = await self.seed.together(
                self.balancer.post(f"/api/v1/subscriptions/{mother}/send")
                for mother in singles[start : start + 10]
            )
            assert {status for status, _ in answers} == {201}
        self.owed.update(singles)
        await self.seed.settled()


OPEN_TICKS = "SELECT count(*) FROM ticks WHERE state = 'expanding'"


@ensureDeferred
async def test_a_rolling_restart_loses_doubles_and_delays_nothing(seed: World) -> None:
    schedule = seed.direct.schedule()
    messageset = seed.direct.messageset("pregnancy", schedule, messages=MESSAGES)
    mothers = seed.subscribe(MOTHERS, messageset, schedule)
    with processes(seed, 2, SBM_CONCURRENCY="8") as daemons:
        for daemon in daemons:
            await daemon.start()
        balancer = Balancer(seed, list(daemons))
        load = Load(seed, balancer, schedule, mothers)

        async def roll() -> None:
            for _ in range(ROUNDS):
                for daemon in daemons:
                    await balancer.restart(daemon)

        rolling = Deferred.fromCoroutine(roll())
        while not rolling.called:
            await load.one_round()
        await rolling
        for daemon in daemons:
            assert await daemon.end() == 0, daemon.output
    of = {row["id"]: row["identity"] for row in seed.direct.rows("SELECT * FROM subscriptions")}
    assert seed.received() == {
        str(of[mother]): [f"pregnancy {number} eng_ZA" for number in range(1, count + 1)]
        for mother, count in load.owed.items()
    }
    # Whatever had been unknown, if only for a while, would have been adopted or still be there.
    assert Counter(entry["outcome"] for entry in seed.direct.ledger()) == {
        "sent": sum(load.owed.values())
    }
    assert seed.direct.value("SELECT count(*) FROM sends") == 0
    assert seed.direct.unbalanced_ticks() == []
