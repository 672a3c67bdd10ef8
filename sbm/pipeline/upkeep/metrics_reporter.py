"""Sends the counted values to the Metrics API, in batches; its failures affect nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.clients.metrics import MetricsApi
from sbm.clients.outcomes import Failed, OutcomeUnknown, Rejected, Unavailable
from sbm.model.metrics import CREATED
from sbm.pipeline.breaker import Breaker
from sbm.runtime.loop import Loop
from sbm.telemetry import MOST_NAMES, Telemetry

# How many seconds the last batch may take while the daemon stops.
LAST_SECONDS = 2.0

# It counts nothing: if it is lost or taken twice, no value is wrong.
PROBE: Mapping[str, float] = {CREATED: 0.0}


@define(eq=False, slots=False, kw_only=True)
class MetricsReporter(Service):
    """Sends the counted values to the Metrics API, once per ``every`` and when it stops.

    Values that were surely not taken are sent again with the next batch. Values that may have been
    taken are not: a sum cannot be taken back, and the Metrics API cannot be asked. After a failure,
    the probe is sent first, and values only once it was taken. So values are lost once, and not at
    every try.
    """

    _reactor: Any
    _metrics: MetricsApi
    _telemetry: Telemetry
    _breaker: Breaker
    _every: timedelta
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        self._refused: set[str] = set()
        self._loop = Loop(
            reactor=self._reactor,
            name="fire metrics",
            one_pass=self.one_pass,
            rest=self._every.total_seconds(),
        )

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        last = Deferred.fromCoroutine(self._tell_the_rest())
        await last.addTimeout(LAST_SECONDS, self._reactor, lambda outcome, _seconds: outcome)
        left = len(self._telemetry.pending_metrics.values)
        if left:
            self._log.warn(
                "{count} values were not sent to the Metrics API: it is away", count=left
            )

    async def _tell_the_rest(self) -> None:
        """Send the last batch, unless the last call failed: stopping does not wait for that."""
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped
        if not self._is_in_doubt:
            await self.one_pass()

    @property
    def _is_in_doubt(self) -> bool:
        return self._breaker.failures > 0 or self._breaker.is_probing

    async def one_pass(self) -> int:
        """Send the values that there are; returns 0 always, so that the next batch can grow."""
        pending_metrics = self._telemetry.pending_metrics
        if (
            pending_metrics.values
            and not self._breaker.is_open
            and (not self._is_in_doubt or await self._answers())
        ):
            await self._fire(pending_metrics.take())
        return 0

    async def _answers(self) -> bool:
        """Whether the Metrics API takes the probe, which is surely valid."""
        try:
            await self._metrics.fire(PROBE)
        except Rejected as error:
            self._breaker.fail(Unavailable(str(error), at_once=True))
            return False
        except Failed as error:
            self._breaker.fail(error)
            return False
        self._breaker.succeed()
        return True

    async def _fire(self, values: dict[str, float]) -> None:
        try:
            await self._metrics.fire(values)
        except Rejected as error:
            await self._find_fault(values, error)
        except Unavailable as error:
            self._telemetry.pending_metrics.put_back(values)
            self._breaker.fail(error)
        except OutcomeUnknown as error:
            self._telemetry.count("metrics.lost", len(values))
            self._breaker.fail(error)
            self._log.warn(
                "{count} values may have reached the Metrics API and are not sent again: {reason}",
                count=len(values),
                reason=str(error),
            )
        else:
            self._breaker.succeed()

    async def _find_fault(self, values: dict[str, float], error: Rejected) -> None:
        """Send each half by itself, so that in the end a bad value is refused alone."""
        if not await self._answers():
            self._telemetry.pending_metrics.put_back(values)
        elif len(values) == 1:
            (name,) = values
            self._telemetry.count("metrics.lost")
            if name not in self._refused and len(self._refused) < MOST_NAMES:
                self._refused.add(name)
                self._log.error(
                    "the Metrics API refuses {name}: {reason}", name=name, reason=str(error)
                )
        else:
            names = list(values)
            for part in (names[: len(names) // 2], names[len(names) // 2 :]):
                half = {name: values[name] for name in part}
                if self._is_in_doubt:
                    self._telemetry.pending_metrics.put_back(half)
                else:
                    await self._fire(half)
