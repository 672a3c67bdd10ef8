"""When a send is tried again, and when it has been tried often enough."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from attrs import frozen

from sbm.model.backoff import backoff
from sbm.model.send import GivenBack, Send, Settled, Stage
from sbm.pipeline.breaker import Breaker


@frozen(kw_only=True)
class Retries:
    """The rules; ``draw`` gives a random number from 0 to 1, ``cap`` is the longest delay."""

    max_faults: int
    cap: timedelta
    draw: Callable[[], float]

    def away(self, send: Send, breaker: Breaker, reason: str) -> GivenBack:
        """Nobody's fault in particular.

        Later than the next probe, or the one send that always fails would be every probe.
        """
        delay = breaker.wait + backoff(max(send.attempt, 1), self.draw, cap=self.cap)
        return GivenBack(reason=reason, delay=delay)

    def fault(self, send: Send, stage: Stage, reason: str) -> GivenBack | Settled:
        """The message itself is to blame: its tries are counted."""
        faults = send.faults + 1
        if faults >= self.max_faults:
            reason = f"{reason} (tried {faults} times)"
            return Settled(outcome="failed", stage=stage, reason=reason)
        delay = backoff(faults, self.draw, cap=self.cap)
        return GivenBack(reason=reason, delay=delay, is_fault=True)
