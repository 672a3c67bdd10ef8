"""The ledger balance, as a running daemon tells it."""

from __future__ import annotations

from typing import Any

import pytest
import treq
from prometheus_client.parser import text_string_to_metric_families
from pytest_twisted import ensureDeferred

from sbm.store import ledger_balance
from sbm.store.postgres.statements import Query
from tests.e2e.end_to_end import World, pause


async def gauge(url: str, name: str) -> float | None:
    """The value of a metric without labels at ``/metrics``, or None."""
    response = await treq.get(f"{url}/metrics", persistent=False)
    told = text_string_to_metric_families(await response.text())
    values = [one.value for family in told for one in family.samples if one.name == name]
    return values[0] if values else None


async def ledger_of(seed: World) -> tuple[bool, Any]:
    status, health = await seed.call("GET", "/api/health/")
    assert status == 200
    return health["up"], health["result"]["ledger"]


@ensureDeferred
async def test_a_daemon_tells_that_the_ledger_is_balanced_and_what_it_has_sent(
    seed: World,
) -> None:
    schedule = seed.direct.schedule()
    seed.subscribe(3, seed.direct.messageset("pregnancy", schedule), schedule)
    url = seed.start()
    await seed.tick(schedule)
    while await gauge(url, "sbm_sends_sent_total") != 3:
        await pause(0.05)
    while (await ledger_of(seed))[1]["is_balanced"] is None:
        await pause(0.05)
    assert await gauge(url, "sbm_ledger_unbalanced_ticks") == 0
    up, ledger_balance = await ledger_of(seed)
    assert (up, ledger_balance["is_balanced"], ledger_balance["unbalanced_ticks"]) == (
        True,
        True,
        0,
    )
    assert seed.direct.unbalanced_ticks() == []


@ensureDeferred
async def test_a_daemon_tells_that_the_ledger_is_unbalanced_and_stays_up(seed: World) -> None:
    schedule = seed.direct.schedule()
    seed.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id, triggers)"
        " VALUES ('post-back', 'expanded', %s, 2)",
        schedule,
    )
    urls = [seed.start() for _ in range(2)]
    for url in urls:
        # Whichever of them has checked it, the others come to know when they look.
        while await gauge(url, "sbm_ledger_unbalanced_ticks") is None:
            await pause(0.05)
    await seed.until(lambda: seed.direct.value("SELECT missing FROM ticks") == 2)
    restarted = seed.start()
    while await gauge(restarted, "sbm_ledger_unbalanced_ticks") is None:
        await pause(0.05)
    up, ledger_balance = await ledger_of(seed)
    assert (up, ledger_balance["is_balanced"], ledger_balance["unbalanced_ticks"]) == (
        True,
        False,
        1,
    )


@ensureDeferred
async def test_stopping_does_not_wait_for_a_count(
    seed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = seed.direct.schedule()
    seed.direct.rows(
        "INSERT INTO ticks (source, state, schedule_id) VALUES ('post-back', 'expanded', %s)",
        schedule,
    )
    long = Query(name="count_ticks", sql="SELECT pg_sleep(60) /* %(ids)s */", returns="many")
    monkeypatch.setitem(ledger_balance.QUERIES.by_name, "count_ticks", long)

    def counting() -> int:
        return int(
            seed.direct.value(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event = 'PgSleep' AND datname = current_database()"
            )
        )

    seed.start(SBM_STOP_GRACE_SECONDS="600")
    await seed.until(counting)
    await seed.stop()
    assert counting() == 1, "the server has finished what nobody waits for any longer"
