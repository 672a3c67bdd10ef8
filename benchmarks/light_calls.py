"""Light calls and single sends beside something else, and how long they take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

from attrs import define, field

from benchmarks.load import Api, Exchanges, Sample, at_pace, percentile, written

PROBE, READ, TRIGGER = "GET /livez", "GET /schedule/1/", "a triggered send"
MEASURES = (PROBE, READ, TRIGGER)

# So many of each measure begin in a second.
PACE = 20.0
_ARRIVE_SECONDS = 30.0


@define(eq=False, kw_only=True)
class LightCalls:
    """What is called again and again, at a pace that does not depend on the answers.

    ``people`` are subscriptions and their identities; ``arrivals`` tells when outbounds to which
    identities arrived. A probe comes over a connection of its own, as that of a load balancer.
    """

    port: int
    people: Sequence[tuple[Any, str]]
    arrivals: Callable[[], Mapping[str, float]]
    failures: list[str] = field(factory=list, init=False)
    _next: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = cycle(self.people)

    def during(self, seconds: float) -> dict[str, list[float]]:
        """Call for so long; returns the seconds of each call, and of triggers until the arrival."""
        triggered: dict[str, float] = {}
        probes, reads, triggers = asyncio.run(self._called(seconds, triggered))
        for what, samples in zip(MEASURES, (probes, reads, triggers), strict=True):
            self.failures += [
                f"{what}: {one.status or 'no answer'}" for one in samples if not _is_good(one)
            ]
        return {
            PROBE: [one.seconds for one in probes],
            READ: [one.seconds for one in reads],
            TRIGGER: self._until_arrival(triggered),
        }

    async def _called(self, seconds: float, triggered: dict[str, float]) -> list[list[Sample]]:
        api = Api(self.port)
        read = written("GET", "/api/v1/schedule/1/")
        probe = written("GET", "/livez")

        async def call_probe(_due_at: float) -> int:
            loop = asyncio.get_running_loop()
            transport, line = await loop.create_connection(Exchanges, "127.0.0.1", self.port)
            try:
                return (await line.ask(probe))[0]
            finally:
                transport.close()

        async def call_read(_due_at: float) -> int:
            return (await api.ask(read))[0]

        async def trigger(due_at: float) -> int:
            subscription, identity = next(self._next)
            request = written("POST", f"/api/v1/subscriptions/{subscription}/send")
            status, _ = await api.ask(request)
            if status == 201:
                triggered[identity] = due_at
            return status

        calls = (call_probe, call_read, trigger)
        return await asyncio.gather(*(at_pace(one, pace=PACE, seconds=seconds) for one in calls))

    def _until_arrival(self, triggered: Mapping[str, float]) -> list[float]:
        end = time.monotonic() + _ARRIVE_SECONDS
        while True:
            arrived = self.arrivals()
            missing = triggered.keys() - arrived.keys()
            if not missing or time.monotonic() > end:
                break
            time.sleep(0.2)
        self.failures += [f"{TRIGGER}: no message arrived" for _ in missing]
        return [arrived[one] - at for one, at in triggered.items() if one in arrived]


def _is_good(sample: Sample) -> bool:
    return sample.status in (200, 201)


def p99(times: Sequence[float]) -> float:
    """The 99th percentile; without values, it is endless."""
    return percentile(times, 0.99) if times else float("inf")


def told(found: Mapping[str, Sequence[float]]) -> str:
    """The p99 of each measure, for people."""
    return ", ".join(f"{what} {p99(times) * 1000:.0f} ms" for what, times in found.items())
