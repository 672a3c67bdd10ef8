"""One small value per service: is it away, and when may it be tried again?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from sbm.model.backoff import backoff

# A single message or person may be answered with an error for ever; a service that is away fails
# everybody. So many failures, and not one success between them, are the service's.
TOLERATED = 5

# However long a service asks for: its mistake must not stop us for days.
LONGEST_RETRY_AFTER = timedelta(minutes=5)


@define(eq=False, slots=False)
class Breaker:
    """Open while the service is away. When its time is over, one call may try; success closes it.

    ``seconds`` is the reactor's clock, ``draw`` gives a random number from 0 to 1.
    """

    service: str
    _seconds: Callable[[], float]
    _draw: Callable[[], float]
    failures: int = 0
    openings: int = 0
    _open_until: float = 0.0
    _log: Logger = field(factory=Logger)

    @property
    def wait(self) -> timedelta:
        """How long nobody should try; zero where trying is fine."""
        return timedelta(seconds=max(0.0, self._open_until - self._seconds()))

    @property
    def is_probing(self) -> bool:
        """It was open and nothing has succeeded since, so the next call should be a single one."""
        return self.openings > 0

    def succeed(self) -> None:
        """The service answered."""
        if self.openings:
            self._log.info("{service} is back", service=self.service)
        self.failures = self.openings = 0
        self._open_until = 0.0

    def fail(self, reason: str, retry_after: timedelta | None = None) -> None:
        """A call failed. Those that were under way together open it once.

        ``retry_after`` is what the service asked for: then it is meant for everybody, at once.
        """
        self.failures += 1
        if self.wait or (self.failures < TOLERATED and not self.openings and retry_after is None):
            return
        self.openings += 1
        if self.openings == 1:
            self._log.warn("{service} is away: {reason}", service=self.service, reason=reason)
        asked_for = min(retry_after or timedelta(0), LONGEST_RETRY_AFTER)
        pause = max(backoff(self.openings, self._draw), asked_for)
        self._open_until = self._seconds() + pause.total_seconds()
