"""Counts are sent to a Metrics API that fails in many ways."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from sbm.clients.metrics import MetricsApi
from sbm.clients.service_client import ServiceClient
from sbm.model.durations import LongestDelay, RequestTimeout
from sbm.model.metrics import CREATED
from sbm.pipeline.breaker import Breaker
from sbm.pipeline.upkeep.metrics_reporter import LAST_SECONDS, PROBE, MetricsReporter
from sbm.settings.endpoints import MetricsAddress
from sbm.telemetry import Telemetry
from tests.clients.far import Far, Line, ManualReactor, answer, reactor

TIMEOUT = 5
EVERY = 10
TAKEN = answer(201, b"{}")
ASKED = dict(PROBE)
PUBLISHER: Any = globalLogPublisher


@define(eq=False, slots=False)
class Bench:
    """A daemon's metrics, by a clock that the test moves, and the server that they go to."""

    far: Far
    manual: Any = field(factory=ManualReactor)

    def __attrs_post_init__(self) -> None:
        self.telemetry = Telemetry()
        self.telemetry.pending_metrics.is_kept = True
        self.far.says(TAKEN)
        port = self.far.port.getHost().port
        address = MetricsAddress(url=f"http://127.0.0.1:{port}/api/v1", token="t")
        self.client = ServiceClient(
            reactor=self.manual,
            address=address,
            timeout=RequestTimeout(timedelta(seconds=TIMEOUT)),
            connections=1,
        )
        self.breaker = Breaker(
            service="Metrics API",
            seconds=self.manual.seconds,
            draw=lambda: 1.0,
            cap=LongestDelay(timedelta(seconds=60)),
            is_told_once=True,
        )
        make: Any = MetricsReporter
        self.firing: MetricsReporter = make(
            reactor=self.manual,
            metrics=MetricsApi(client=self.client),
            telemetry=self.telemetry,
            breaker=self.breaker,
            every=timedelta(seconds=EVERY),
        )
        self.log: list[str] = []
        PUBLISHER.addObserver(self._hear)

    def _hear(self, event: Any) -> None:
        if "sbm" in event.get("log_namespace", ""):
            self.log.append(event.get("log_format") or "")

    async def close(self) -> None:
        PUBLISHER.removeObserver(self._hear)
        await self.client.stopService()

    def tell(self, **counts: float) -> None:
        for name, value in counts.items():
            self.telemetry.pending_metrics.add(f"{name}.sum", value)

    def told(self) -> list[dict[str, float]]:
        """The bodies of all requests since the last look, in order."""
        bodies = [json.loads(request.body) for request in self.far.requests]
        self.far.requests.clear()
        return bodies

    @property
    def left(self) -> dict[str, float]:
        return self.telemetry.pending_metrics.values

    async def fails(self) -> None:
        """One pass that is given up after the deadline."""
        asked = self.hears()
        done = Deferred.fromCoroutine(self.firing.one_pass())
        await asked
        self.manual.clock.advance(TIMEOUT)
        await done

    def hears(self, and_then: Callable[[Line], object] = lambda line: None) -> Deferred[None]:
        """Fires with the next request, which gets no answer but what ``and_then`` says."""
        heard: Deferred[None] = Deferred()

        def reply(line: Line) -> None:
            and_then(line)
            if not heard.called:
                heard.callback(None)

        self.far.reply = reply
        return heard


@pytest_twisted.async_yield_fixture
async def bench() -> AsyncIterator[Bench]:
    far = Far()
    far.open()
    bench = Bench(far)
    yield bench
    await bench.close()
    await far.close()


@ensureDeferred
async def test_what_was_counted_goes_out_together_and_once(bench: Bench) -> None:
    bench.tell(a=1)
    bench.tell(a=2, b=1)
    bench.telemetry.pending_metrics.add("c.last", 7)
    bench.telemetry.pending_metrics.add("c.last", 5)
    await bench.firing.one_pass()
    await bench.firing.one_pass()
    (request,) = bench.far.requests
    assert (request.method, request.target) == ("POST", "/api/v1/metrics/")
    assert request.headers["authorization"] == "Bearer t"
    assert request.body == b'{"a.sum":3.0,"b.sum":1.0,"c.last":5.0}'


@pytest.mark.parametrize("status", [401, 404, 429, 503])
@ensureDeferred
async def test_what_was_surely_not_taken_goes_out_with_the_next_batch(
    bench: Bench, status: int
) -> None:
    bench.tell(a=1, b=2)
    bench.telemetry.pending_metrics.add("c.last", 7)

    def meanwhile(line: Line) -> None:
        bench.tell(a=3)
        bench.telemetry.pending_metrics.add("c.last", 5)
        line.say(answer(status))

    bench.far.reply = meanwhile
    await bench.firing.one_pass()
    bench.told()
    await bench.firing.one_pass()
    assert bench.told() == [], "asked, though it has just said that it is away"
    bench.manual.clock.advance(60)
    bench.far.says(TAKEN)
    await bench.firing.one_pass()
    assert bench.told() == [ASKED, {"a.sum": 4, "b.sum": 2, "c.last": 5}]
    assert bench.telemetry.counts["metrics.lost"] == 0


@ensureDeferred
async def test_a_refused_connection_loses_nothing(bench: Bench) -> None:
    here = Bench(bench.far, reactor)  # by its own clock, for who connects looks at one
    number = bench.far.port.getHost().port
    await bench.far.close()
    here.tell(a=1)
    await here.firing.one_pass()
    assert here.left == {"a.sum": 1}
    bench.far.port = reactor.listenTCP(number, bench.far, interface="127.0.0.1")
    await here.firing.one_pass()
    assert here.told() == [ASKED, {"a.sum": 1}]
    await here.close()


def _drop(line: Line) -> None:
    line.transport.abortConnection()


@pytest.mark.parametrize(
    "trouble",
    [
        lambda line: line.say(answer(500)),
        lambda line: line.say(answer(302, location="/")),
        lambda line: line.hang_up(b"nonsense\r\n\r\n"),
        lambda line: line.hang_up(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"),
        _drop,
    ],
)
@ensureDeferred
async def test_what_may_have_been_taken_is_not_told_again(
    bench: Bench, trouble: Callable[[Line], object]
) -> None:
    bench.tell(a=1, b=2)
    bench.far.reply = trouble
    await bench.firing.one_pass()
    bench.tell(b=4)
    bench.far.says(TAKEN)
    bench.told()
    await bench.firing.one_pass()
    assert bench.told() == [ASKED, {"b.sum": 4}]
    assert bench.telemetry.counts["metrics.lost"] == 2


@ensureDeferred
async def test_however_long_it_hangs_one_batch_is_lost_and_it_is_said_once(bench: Bench) -> None:
    bench.tell(a=1)
    await bench.fails()
    assert bench.told() == [{"a.sum": 1}]
    for _ in range(9):
        bench.tell(a=1)
        bench.manual.clock.advance(60)
        await bench.fails()
    assert bench.told() == 9 * [ASKED]
    assert len(bench.log) == 2, "the values that are lost, and that it is away"
    bench.manual.clock.advance(60)
    bench.far.says(TAKEN)
    await bench.firing.one_pass()
    assert bench.told() == [ASKED, {"a.sum": 9}]
    assert bench.telemetry.counts["metrics.lost"] == 1


def _refuses(line: Line, requests: list[Any]) -> None:
    names = json.loads(requests[-1].body)
    line.say(answer(400) if "bad.sum" in names else TAKEN)


@ensureDeferred
async def test_a_value_that_is_refused_does_not_keep_the_others_back(bench: Bench) -> None:
    good = {f"good{number}": 1.0 for number in range(20)}
    bench.far.reply = lambda line: _refuses(line, bench.far.requests)
    for _ in range(2):
        bench.tell(**good, bad=5)
        await bench.firing.one_pass()
    taken = Counter[str]()
    for told in bench.told():
        taken.update({} if "bad.sum" in told else told)
    assert taken == ASKED | {f"{name}.sum": 2.0 for name in good}
    assert (bench.left, bench.telemetry.counts["metrics.lost"]) == ({}, 2)
    assert bench.log == ["the Metrics API refuses {name}: {reason}"], "said at every try, or never"


@ensureDeferred
async def test_where_everything_is_refused_nothing_is_lost(bench: Bench) -> None:
    bench.far.says(answer(400))
    for value in (1, 2):
        bench.tell(a=value, b=value)
        await bench.firing.one_pass()
    assert bench.told() == [{"a.sum": 1, "b.sum": 1}, ASKED]
    assert bench.left == {"a.sum": 3, "b.sum": 3}


@ensureDeferred
async def test_stopping_tells_the_rest(bench: Bench) -> None:
    bench.firing.startService()
    bench.tell(a=1)
    await bench.firing.stopService()
    assert bench.told() == [{"a.sum": 1}]


@pytest.mark.parametrize("is_under_way", [True, False])
@ensureDeferred
async def test_stopping_does_not_wait_for_one_who_hangs(bench: Bench, is_under_way: bool) -> None:
    heard = bench.hears()
    bench.tell(a=1)
    if is_under_way:
        bench.firing.startService()
        await heard
    stopped = bench.firing.stopService()
    await heard
    assert not stopped.called
    bench.manual.clock.advance(LAST_SECONDS)
    await stopped
    assert bench.told() == [{"a.sum": 1}]


@ensureDeferred
async def test_stopping_does_not_even_ask_one_who_has_just_failed(bench: Bench) -> None:
    bench.far.says(answer(500))
    bench.tell(a=1)
    await bench.firing.one_pass()
    bench.tell(a=1)
    bench.told()
    await bench.firing.stopService()
    assert bench.told() == []
    assert bench.log[-1] == "{count} values were not sent to the Metrics API: it is away"


def test_without_anybody_to_be_told_nothing_is_kept() -> None:
    pending_metrics = Telemetry().pending_metrics
    pending_metrics.add(CREATED)
    assert pending_metrics.take() == {}
