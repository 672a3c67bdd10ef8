"""One deadline for each of many things, with one timer for all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

# A deadline that lies further ahead than the patience, by so many seconds, shows that the clock was
# set back.
CLOCK_STEP = 1.0


@define(eq=False, kw_only=True)
class Deadlines:
    """Cancels Deferreds that take longer than ``patience``, which is the same for all of them.

    So they come due in the order in which they were added. ``Deferred.addTimeout`` would make a
    timer and two callbacks for each. If the clock is set back, those added before come due with the
    next one that is added after.
    """

    _reactor: Any
    _patience: timedelta
    _due_at: dict[Deferred[Any], float] = field(init=False, factory=dict)
    _timer: Any = field(init=False, default=None)

    def add(self, begun: Deferred[Any]) -> None:
        """Cancel it later, unless it is removed before."""
        patience = self._patience.total_seconds()
        due_at = self._reactor.seconds() + patience
        self._due_at[begun] = due_at
        if self._timer is None:
            self._timer = self._reactor.callLater(patience, self._look)
        elif self._timer.active() and self._timer.getTime() > due_at:
            self._timer.reset(patience)  # the clock was set back

    def remove(self, ended: Deferred[Any]) -> bool:
        """Let it be; returns whether it was in time. False: it was cancelled at its deadline."""
        return self._due_at.pop(ended, None) is not None

    def _look(self) -> None:
        """Cancel those that are due, and set the timer for the next one.

        What is cancelled may add others. While that happens, the timer that has fired stays in its
        place, so that no other is set.
        """
        try:
            while self._due_at and self._is_due(next(iter(self._due_at.values()))):
                oldest = next(iter(self._due_at))
                del self._due_at[oldest]
                oldest.cancel()
        finally:
            self._timer = None
            if self._due_at:
                left = next(iter(self._due_at.values())) - self._reactor.seconds()
                patience = self._patience.total_seconds()
                self._timer = self._reactor.callLater(min(max(left, 0.0), patience), self._look)

    def _is_due(self, due_at: float) -> bool:
        """Whether a deadline has passed, or lies so far ahead that the clock was set back since."""
        left: float = due_at - self._reactor.seconds()
        return left <= 0 or left > self._patience.total_seconds() + CLOCK_STEP
