"""The pass that checks the ledger balance and measures what is live."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import ILogObserver, Logger, formatEvent
from zope.interface import implementer

from sbm.model.send import Settled
from sbm.pipeline.upkeep import ledger_balance
from sbm.pipeline.upkeep.ledger_balance import NAMED_PER_PASS, LedgerBalance
from sbm.store import sends, ticks
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.telemetry import Telemetry
from tests.arrange import Arranged

LEASE = timedelta(seconds=60)


@implementer(ILogObserver)
class Lines:
    """The log, as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Any) -> None:
        self.lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

    def told(self) -> list[str]:
        """The lines since the last call."""
        told, self.lines = self.lines, []
        return told


class Bench:
    """A pass over a database; ``again`` lets no tick rest."""

    def __init__(self, database: Any, direct: Arranged) -> None:
        self.direct = direct
        self.telemetry = Telemetry()
        self.log = Lines()
        self.balance = LedgerBalance(
            database=database, telemetry=self.telemetry, log=Logger(observer=self.log)
        )

    async def again(self) -> list[str]:
        self.direct.rows("UPDATE ticks SET checked_at = checked_at - interval '1 hour'")
        assert await self.balance.one_pass() == 0
        return self.log.told()

    def unbalanced_ticks(self) -> float | None:
        return self.telemetry.measured("ledger.unbalanced_ticks")

    def closed_ticks(self, count: int, triggers: int = 0) -> list[int]:
        rows = self.direct.rows(
            "INSERT INTO ticks (source, state, schedule_id, triggers, due_at)"
            " SELECT 'post-back', 'expanded', 1, %s, '2024-05-01 12:00+00'"
            " FROM generate_series(1, %s) RETURNING id",
            *(triggers, count),
        )
        return [row["id"] for row in rows]

    def settled(self, tick: int) -> None:
        self.direct.rows(
            "INSERT INTO ledger (send_id, tick_id, kind, outcome, stage, subscription_id,"
            " identity) VALUES (gen_random_uuid(), %s, 'next', 'sent', 'post', gen_random_uuid(),"
            " 'i')",
            tick,
        )


@pytest.fixture
def bench(database: Database, direct: Arranged) -> Bench:
    return Bench(database, direct)


@ensureDeferred
async def test_nothing_is_said_while_the_ledger_is_balanced(
    bench: Bench, database: Database
) -> None:
    schedule = bench.direct.schedule()
    bench.direct.subscriptions(3, bench.direct.messageset("pregnancy", schedule), schedule)
    assert bench.unbalanced_ticks() is None
    await database.transact(ticks.open_tick, schedule_id=schedule)
    await database.transact(ticks.expand, limit=2)
    assert await bench.again() == []
    claimed = await database.transact(sends.claim, owner=uuid4(), limit=1, lease=LEASE)
    results = [(one, Settled(outcome="sent", stage="post")) for one in claimed]
    await database.transact(sends.settle, results=results)
    assert await bench.again() == []
    assert bench.unbalanced_ticks() == 0
    now = bench.direct.value("SELECT EXTRACT(epoch FROM now())::float8")
    checked_at = bench.telemetry.measured("ledger.checked_at")
    assert checked_at is not None
    assert 0 <= now - checked_at < 3600


@ensureDeferred
async def test_an_unbalanced_tick_is_named_with_both_sides_and_so_is_its_end(bench: Bench) -> None:
    (tick,) = bench.closed_ticks(1, triggers=2)
    bench.settled(tick)
    name = f"tick {tick} (post-back, 2024-05-01 12:00:00+00:00): 2 triggers"
    assert await bench.again() == [
        f"error: unbalanced: {name}, 1 in the ledger, 0 live",
        "error: 1 ticks are unbalanced: `sbm check ledger` names them",
    ]
    assert bench.unbalanced_ticks() == 1
    assert await bench.again() == []
    bench.settled(tick)
    assert await bench.again() == [
        f"info: done: tick {tick} (post-back, 2024-05-01 12:00:00+00:00): 2 sent",
        f"info: balanced again: {name}, 2 in the ledger, 0 live",
        "info: every tick is balanced again",
    ]
    assert bench.unbalanced_ticks() == 0


@ensureDeferred
async def test_what_another_daemon_found_counts_after_a_restart_too(
    bench: Bench, database: Database
) -> None:
    bench.closed_ticks(1, triggers=1)
    await bench.again()
    restarted = Bench(database, bench.direct)
    assert await restarted.balance.one_pass() == 0
    assert restarted.unbalanced_ticks() == 1
    assert restarted.log.told() == ["error: 1 ticks are unbalanced: `sbm check ledger` names them"]


@ensureDeferred
async def test_only_some_are_named_when_everything_is_unbalanced(bench: Bench) -> None:
    bench.closed_ticks(NAMED_PER_PASS + 2, triggers=1)
    *named, more, summed_up = await bench.again()
    assert len(named) == NAMED_PER_PASS
    assert more == "error: 2 more ticks are unbalanced now, or balanced again"
    assert f"{NAMED_PER_PASS + 2} ticks are unbalanced" in summed_up


@ensureDeferred
async def test_a_tick_that_cannot_be_counted_keeps_no_other_from_it(
    bench: Bench, database: Database, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_balance, "TRIGGERS_PER_STATEMENT", 10)
    (large,) = bench.closed_ticks(1, triggers=1000)
    (small,) = bench.closed_ticks(1, triggers=1)
    counted: list[list[int]] = []

    class Slow:
        """The database, which gives up on what is large."""

        async def transact(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            if args:
                counted.append([tick.id for tick in args[0]])
                if large in counted[-1]:
                    raise DatabaseUnavailable("canceling statement due to statement timeout")
            return await database.transact(work, *args, **kwargs)

    bench = Bench(Slow(), direct)
    told = await bench.again()
    assert counted == [[small], [large]]
    assert f"error: unbalanced: tick {small} " in told[0]
    assert told[-1] == (
        f"error: the balance of tick {large} and others could not be checked:"
        " canceling statement due to statement timeout"
    )
    assert bench.unbalanced_ticks() == 1
    assert bench.telemetry.measured("ledger.checked_at") is None


@ensureDeferred
async def test_live_sends_are_measured_by_state_and_lane(bench: Bench) -> None:
    def live(state: str, lane: str) -> float | None:
        return bench.telemetry.measured("sends.live", state=state, lane=lane)

    await bench.again()
    assert {
        live(state, lane) for state in ("owed", "claimed", "unknown") for lane in ("tick",)
    } == {0}
    assert bench.telemetry.measured("sends.oldest_owed_seconds") == 0
    bench.direct.rows(
        "INSERT INTO sends (kind, lane, state, subscription_id, identity, tick_id, owed_at,"
        " unknown_since, owner, lease_until)"
        " SELECT 'next', lane, state, gen_random_uuid(), 'i', 1, now() - ago, unknown_since,"
        " owner, lease_until FROM (VALUES"
        "  ('single', 'owed', interval '1 hour', NULL::timestamptz, NULL::uuid,"
        "   NULL::timestamptz),"
        "  ('tick', 'owed', '2 hours', NULL, NULL, NULL),"
        "  ('tick', 'owed', '2 minutes', NULL, NULL, NULL),"
        "  ('tick', 'claimed', '9 hours', NULL, gen_random_uuid(), now()),"
        "  ('tick', 'unknown', '9 hours', now() + interval '1 minute', NULL, NULL))"
        " v (lane, state, ago, unknown_since, owner, lease_until)"
    )
    await bench.again()
    assert (live("owed", "single"), live("owed", "tick")) == (1, 2)
    assert (live("claimed", "tick"), live("unknown", "tick")) == (1, 1)
    assert (live("claimed", "single"), live("unknown", "single")) == (0, 0)
    oldest = bench.telemetry.measured("sends.oldest_owed_seconds")
    assert oldest is not None
    assert 7200 <= oldest < 9 * 3600
    bench.direct.rows("DELETE FROM sends WHERE state <> 'unknown'")
    await bench.again()
    assert bench.telemetry.measured("sends.oldest_unknown_seconds") == 0
    bench.direct.rows(
        "UPDATE sends SET unknown_since = now() - interval '1 hour' WHERE state = 'unknown'"
    )
    await bench.again()
    oldest = bench.telemetry.measured("sends.oldest_unknown_seconds")
    assert oldest is not None
    assert oldest >= 3600


@ensureDeferred
async def test_what_the_scheduler_is_owed_is_measured(bench: Bench) -> None:
    bench.direct.rows(
        "INSERT INTO scheduler_calls (kind, target, state, owed_at) VALUES"
        " ('schedule', '1', 'owed', now() - interval '1 hour'), ('schedule', '2', 'refused', now())"
    )
    await bench.balance.one_pass()
    assert bench.telemetry.measured("scheduler_calls.owed") == 1
    assert bench.telemetry.measured("scheduler_calls.refused") == 1
    assert (bench.telemetry.measured("scheduler_calls.oldest_owed_seconds") or 0) >= 3600


@ensureDeferred
async def test_outbounds_beside_those_of_the_ledger_are_measured(bench: Bench) -> None:
    await bench.again()
    assert bench.telemetry.measured("doubles") == 0
    bench.direct.rows(
        "INSERT INTO doubles (send_id, subscription_id, outbound_id)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'x' FROM generate_series(1, 3)"
    )
    await bench.again()
    assert bench.telemetry.measured("doubles") == 3


@ensureDeferred
async def test_the_end_of_a_tick_is_told_once_with_its_outcomes(bench: Bench) -> None:
    sent, empty = bench.closed_ticks(1, triggers=1) + bench.closed_ticks(1)
    bench.settled(sent)
    bench.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, due_at)"
        " VALUES ('clock', 'missed', 1, '2024-05-01 12:00+00') RETURNING 1"
    )
    assert await bench.again() == [
        f"info: done: tick {sent} (post-back, 2024-05-01 12:00:00+00:00): 1 sent",
        f"info: done: tick {empty} (post-back, 2024-05-01 12:00:00+00:00): it had no members",
    ]
    assert await bench.again() == []
