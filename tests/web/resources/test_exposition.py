"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families

from sbm.clients.outcomes import Unavailable
from sbm.pipeline.breaker import Breaker
from sbm.runtime.work_gate import WorkGate
from sbm.telemetry import ANSWERS_REFUSED, Telemetry
from tests.web.conftest import Answer, Api, served


@pytest_twisted.async_yield_fixture
async def measured(database_uri: str, tmp_path: Path) -> AsyncIterator[tuple[Api, Telemetry]]:
    """An API, and what it shows."""
    telemetry = Telemetry()
    async with served(database_uri, tmp_path, telemetry=telemetry) as api:
        yield api, telemetry


def samples(answer: Answer) -> dict[tuple[str, tuple[str, ...]], float]:
    """The values, by name and values of labels."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


@pytest_twisted.ensureDeferred
async def test_counters_and_gauges_are_told_to_anybody(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured
    telemetry.count("sends.sent", 2)
    telemetry.count("sends.dry-run")
    telemetry.count("sends.of-a-new-kind")
    telemetry.gauge("sends.live", 5, state="owed", lane="tick")
    telemetry.gauge("sends.live", 1, state="owed", lane="single")
    telemetry.gauge("ledger.unbalanced_ticks", 0)
    telemetry.gauge("ledger.checked_at", 1e9)
    answer = await api.get("/metrics", token="")
    assert answer.status == 200
    assert (answer.header("Content-Type") or "").startswith("text/plain; version=")
    told = samples(answer)
    assert told["sbm_sends_sent_total", ()] == 2
    assert told["sbm_sends_dry_run_total", ()] == 1
    assert told["sbm_sends_of_a_new_kind_total", ()] == 1
    assert told["sbm_sends_refused_total", ()] == 0
    assert told["sbm_sends_live", ("tick", "owed")] == 5
    assert told["sbm_sends_live", ("single", "owed")] == 1
    assert told["sbm_ledger_unbalanced_ticks", ()] == 0
    assert told["sbm_ledger_checked_timestamp_seconds", ()] == 1e9
    assert told["sbm_build_info", ("1.2.3",)] == 1


@pytest_twisted.ensureDeferred
async def test_refused_answers_are_told_by_service_and_limit(
    measured: tuple[Api, Telemetry],
) -> None:
    api, telemetry = measured
    telemetry.count(ANSWERS_REFUSED, service="message_sender", limit="pages")
    told = samples(await api.get("/metrics", token=""))
    assert told["sbm_answers_refused_total", ("pages", "message_sender")] == 1


@pytest_twisted.ensureDeferred
async def test_no_label_ends_a_line(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured
    telemetry.count(ANSWERS_REFUSED, service='a"\nsbm_paused 1\n', limit="pages")
    told = samples(await api.get("/metrics", token=""))
    assert told["sbm_answers_refused_total", ("pages", 'a"\nsbm_paused 1\n')] == 1
    assert told.get(("sbm_paused", ()), 0) == 0


@pytest_twisted.ensureDeferred
async def test_every_metric_has_its_help_and_type_once(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured
    telemetry.gauge("sends.live", 5, state="owed", lane="tick")
    telemetry.gauge("of.a.new.kind", 1)
    telemetry.count("of.another")
    families = list(text_string_to_metric_families((await api.get("/metrics")).text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {"sbm_of_a_new_kind", "sbm_of_another", "sbm_sends_live"} <= set(names)
    assert [family.name for family in families if not family.documentation] == []
    assert {family.type for family in families} == {"counter", "gauge"}


@pytest_twisted.ensureDeferred
async def test_it_is_read_only_and_needs_no_database(measured: tuple[Api, Telemetry]) -> None:
    api, _ = measured
    api.database.stopService()
    for path in ("/metrics", "/metrics/"):
        answer = await api.get(path, token="", Accept="text/plain")
        assert (answer.status, "sbm_sends_sent_total 0.0" in answer.text) == (200, True)
    head = await api.call("HEAD", "/metrics", token="")
    assert (head.status, head.text) == (200, "")
    assert int(head.header("Content-Length") or 0) == len(answer.text)
    refused = await api.post("/metrics", {}, token="")
    assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD, OPTIONS")


@pytest_twisted.ensureDeferred
async def test_health_tells_the_balance_and_stays_up(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured

    async def told() -> tuple[Any, Any]:
        answer = (await api.get("/api/health/")).json
        return answer["up"], answer["result"]["ledger"]

    assert await told() == (
        True,
        {"is_balanced": None, "unbalanced_ticks": None, "checked_at": None},
    )
    telemetry.gauge("ledger.unbalanced_ticks", 0)
    telemetry.gauge("ledger.checked_at", 1_700_000_000.5)
    moment = "2023-11-14T22:13:20.500000Z"
    assert await told() == (
        True,
        {"is_balanced": True, "unbalanced_ticks": 0, "checked_at": moment},
    )
    telemetry.gauge("ledger.unbalanced_ticks", 3)
    assert await told() == (
        True,
        {"is_balanced": False, "unbalanced_ticks": 3, "checked_at": moment},
    )
    api.database.stopService()
    assert await told() == (
        False,
        {"is_balanced": False, "unbalanced_ticks": 3, "checked_at": moment},
    )


@pytest_twisted.ensureDeferred
async def test_services_that_are_away_are_told_of_with_their_probe(
    measured: tuple[Api, Telemetry],
) -> None:
    api, telemetry = measured
    there = Breaker(service="Identity Store", seconds=lambda: 0.0, draw=lambda: 1.0)
    away = Breaker(service="Message Sender", seconds=lambda: 0.0, draw=lambda: 1.0)
    telemetry.services |= {"identity_store": there, "message_sender": away}
    away.open(Unavailable("403", hint="is its token right?"))
    away.probe = "the send of subscription 1"
    health = (await api.get("/api/health/")).json
    assert health["up"]
    assert health["result"]["services"] == {
        "identity_store": {"is_away": False, "reason": "", "probe": ""},
        "message_sender": {
            "is_away": True,
            "reason": "403 (is its token right?)",
            "probe": "the send of subscription 1",
        },
    }
    metrics = (await api.get("/metrics", token="")).text
    assert 'sbm_service_away{service="identity_store"} 0.0' in metrics
    assert 'sbm_service_away{service="message_sender"} 1.0' in metrics


@pytest_twisted.ensureDeferred
async def test_health_tells_whether_the_clock_is_trusted(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured

    async def told() -> tuple[Any, Any]:
        answer = (await api.get("/api/health/")).json
        return answer["up"], answer["result"]["clock"]

    unknown = {"trusted": None, "jumps": 0, "last_jump_seconds": None}
    assert await told() == (True, unknown)
    telemetry.gauge("clock.doubted_seconds", 0)
    assert await told() == (True, unknown | {"trusted": True})
    telemetry.count("clock.jumps")
    telemetry.gauge("clock.last_jump_seconds", -3600.5)
    telemetry.gauge("clock.doubted_seconds", 179.5)
    jumped = {"trusted": False, "jumps": 1, "last_jump_seconds": -3600.5}
    assert await told() == (True, jumped)
    text = (await api.get("/metrics")).text
    assert "sbm_clock_jumps_total 1.0" in text
    assert "sbm_clock_doubted_seconds 179.5" in text


@pytest_twisted.ensureDeferred
async def test_health_and_gauges_tell_of_a_pause(measured: tuple[Api, Telemetry]) -> None:
    api, telemetry = measured
    gate = WorkGate.opened()
    telemetry.gate = gate

    async def told() -> tuple[Any, Any, float]:
        answer = (await api.get("/api/health/")).json
        paused = samples(await api.get("/metrics"))["sbm_paused", ()]
        return answer["up"], answer["result"]["pause"], paused

    assert await told() == (True, {"is_paused": False, "reason": ""}, 0)
    gate.pauses = ("run `sbm resume`",)
    assert await told() == (True, {"is_paused": True, "reason": "run `sbm resume`"}, 1)
