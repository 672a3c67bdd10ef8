"""What was counted goes to the Metrics API, in batches; its troubles stay here."""

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

# What the last batch may take of the time for stopping.
LAST_SECONDS = 2.0

# It counts nothing, so nothing is lost, and nothing told twice, whatever becomes of it.
PROBE: Mapping[str, float] = {CREATED: 0.0}


@define(eq=False, slots=False, kw_only=True)
class MetricsReporter(Service):
    """Tells the Metrics API ``every`` so often what was counted, and once more when it stops.

    What was surely not taken is told with the next batch. What may have been is not: a sum cannot
    be taken back, and nobody can be asked. So that this happens once and not at every try, after a
    failure nothing is told before the probe was taken.
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
        left = len(self._telemetry.tally.values)
        if left:
            self._log.warn(
                "{count} values are never told to the Metrics API: it is away", count=left
            )

    async def _tell_the_rest(self) -> None:
        """Nobody waits at the end for who has failed the last time."""
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped
        if not self._is_in_doubt:
            await self.one_pass()

    @property
    def _is_in_doubt(self) -> bool:
        return self._breaker.failures > 0 or self._breaker.is_probing

    async def one_pass(self) -> int:
        """Tell what there is; the answer is always 0, for the next batch is to grow a while."""
        tally = self._telemetry.tally
        if (
            tally.values
            and not self._breaker.wait
            and (not self._is_in_doubt or await self._answers())
        ):
            await self._fire(tally.take())
        return 0

    async def _answers(self) -> bool:
        """Whether the Metrics API takes what is surely good."""
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
            self._telemetry.tally.put_back(values)
            self._breaker.fail(error)
        except OutcomeUnknown as error:
            self._telemetry.count("metrics.lost", len(values))
            self._breaker.fail(error)
            self._log.warn(
                "{count} values may have reached the Metrics API and are not told again: {reason}",
                count=len(values),
                reason=str(error),
            )
        else:
            self._breaker.succeed()

    async def _find_fault(self, values: dict[str, float], error: Rejected) -> None:
        """Tell one half, then the other, so that in the end a bad value is refused alone."""
        if not await self._answers():
            self._telemetry.tally.put_back(values)
        elif len(values) == 1:
            (name,) = values
            self._telemetry.count("metrics.lost")
            if name not in self._refused and len(self._refused) < MOST_NAMES:
                self._refused.add(name)
                self._log.error("{name} cannot be told: {reason}", name=name, reason=str(error))
        else:
            names = list(values)
            for part in (names[: len(names) // 2], names[len(names) // 2 :]):
                half = {name: values[name] for name in part}
                if self._is_in_doubt:
                    self._telemetry.tally.put_back(half)
                else:
                    await self._fire(half)
