"""One deadline for each of many things, with one timer for all of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred


@define(eq=False, kw_only=True)
class Deadlines:
    """Cancels Deferreds that take longer than ``patience``, which is the same for all of them.

    So they come due in the order in which they were added. ``Deferred.addTimeout`` makes a timer
    for each, and two callbacks.
    """

    _reactor: Any
    _patience: timedelta
    _due_at: dict[Deferred[Any], float] = field(init=False, factory=dict)
    _timer: Any = field(init=False, default=None)

    def add(self, begun: Deferred[Any]) -> None:
        """Cancel it later, unless it is removed before."""
        self._due_at[begun] = self._reactor.seconds() + self._patience.total_seconds()
        if self._timer is None:
            self._timer = self._reactor.callLater(self._patience.total_seconds(), self._look)

    def remove(self, ended: Deferred[Any]) -> bool:
        """Let it be; returns whether it was in time. False: it was cancelled at its deadline."""
        return self._due_at.pop(ended, None) is not None

    def _look(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        while self._due_at:
            oldest, due_at = next(iter(self._due_at.items()))
            if due_at > now:
                self._timer = self._reactor.callLater(due_at - now, self._look)
                return
            del self._due_at[oldest]
            oldest.cancel()
