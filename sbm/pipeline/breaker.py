"""One small value per service: is it away, and when may it be tried again?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from sbm.model.backoff import backoff


@define(eq=False, slots=False)
class Breaker:
    """Open while the service is away. When its time is over, one call may try; success closes it.

    ``seconds`` is the reactor's clock, ``draw`` gives a random number from 0 to 1.
    """

    service: str
    _seconds: Callable[[], float]
    _draw: Callable[[], float]
    failures: int = 0
    _open_until: float = 0.0
    _log: Logger = field(factory=Logger)

    @property
    def wait(self) -> timedelta:
        """How long nobody should try; zero where trying is fine."""
        return timedelta(seconds=max(0.0, self._open_until - self._seconds()))

    @property
    def is_probing(self) -> bool:
        """The last call failed, so the next one should be a single one."""
        return self.failures > 0

    def succeed(self) -> None:
        """The service answered."""
        if self.failures:
            self._log.info("{service} is back", service=self.service)
        self.failures = 0
        self._open_until = 0.0

    def fail(self, reason: str, retry_after: timedelta | None = None) -> None:
        """The service was away. Calls that were under way together count as one failure."""
        if self.wait:
            return
        self.failures += 1
        if self.failures == 1:
            self._log.warn("{service} is away: {reason}", service=self.service, reason=reason)
        pause = max(backoff(self.failures, self._draw), retry_after or timedelta(0))
        self._open_until = self._seconds() + pause.total_seconds()
