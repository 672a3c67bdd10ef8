"""The breaker of a service: whether the service is away, and when it may be tried again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from sbm.clients.outcomes import Failed
from sbm.model.backoff import CAP, backoff
from sbm.model.durations import LongestDelay

# A call about one message or person may fail for ever. If the service is away, all calls fail. So
# many failures without a success between them count against the service.
TOLERATED = 5

# The longest pause that a service can ask for: its mistake must not stop this daemon for days.
LONGEST_RETRY_AFTER = timedelta(hours=1)


@define(eq=False, slots=False, kw_only=True)
class Breaker:
    """Open while the service is away. After a pause, one call may try; its success closes it.

    ``seconds`` is the reactor's clock, ``draw`` gives a random number from 0 to 1, and ``cap`` is
    the longest pause, unless the service asks for a longer one. While the breaker is open, no
    failure counts: its call was made before. A success does not count either if the service has
    asked for the pause; if it has not, the success closes the breaker. Each opening is logged; with
    ``is_told_once``, only the first.
    """

    service: str
    _seconds: Callable[[], float]
    _draw: Callable[[], float]
    _cap: LongestDelay = CAP
    is_told_once: bool = False
    failures: int = 0
    openings: int = 0
    reason: str = ""
    # What the next call is about, if it is a single one that shows whether the service is back.
    probe: str = ""
    _open_until: float = 0.0
    _is_asked_for: bool = False
    _log: Logger = field(factory=Logger)

    @property
    def wait(self) -> timedelta:
        """How long no call should be made; zero if calls may be made."""
        return timedelta(seconds=max(0.0, self._open_until - self._seconds()))

    @property
    def is_open(self) -> bool:
        """Whether no call should be made now."""
        return self._open_until > 0.0 and self._open_until > self._seconds()

    @property
    def is_probing(self) -> bool:
        """Whether it was open and no call succeeded since: the next call should be a single one."""
        return self.openings > 0

    def succeed(self) -> None:
        """The service answered."""
        if not (self.failures or self.openings):
            return
        if self.is_open and self._is_asked_for:
            return
        if self.openings:
            self._log.info("{service} is back", service=self.service)
        self.failures = self.openings = 0
        self._open_until = 0.0
        self.reason = self.probe = ""

    def fail(self, error: Failed) -> None:
        """A call failed. Calls that were under way together open it only once.

        A failure that would happen to every call opens it at once, and so does a service that asks
        for a pause.
        """
        if self.is_open:
            return
        self.failures += 1
        is_plain = not error.at_once and error.retry_after is None
        if not is_plain or self.failures >= TOLERATED or self.openings:
            self.open(error)

    def open(self, error: Failed) -> None:
        """Open it, regardless of what was counted before."""
        self.openings += 1
        self.reason = f"{error} ({error.hint})" if error.hint else str(error)
        asked_for = min(error.retry_after or timedelta(0), LONGEST_RETRY_AFTER)
        self._is_asked_for = error.at_once or error.retry_after is not None
        pause = max(backoff(self.openings, self._draw, cap=self._cap), asked_for)
        self._open_until = self._seconds() + pause.total_seconds()
        if self.is_told_once and self.openings > 1:
            return
        self._log.error(
            "{service} is {still}away: {reason}; it is tried again in {pause:.0f} s{probe}",
            service=self.service,
            still="still " * (self.openings > 1),
            probe=f" (this time with {self.probe})" if self.probe else "",
            reason=self.reason,
            pause=pause.total_seconds(),
        )
