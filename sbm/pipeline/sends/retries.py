"""When a send is tried again, and when it has used up its tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from attrs import frozen

from sbm.model.backoff import backoff
from sbm.model.durations import LongestDelay
from sbm.model.send import GivenBack, Send, Settled, Stage
from sbm.pipeline.breaker import Breaker


@frozen(kw_only=True)
class Retries:
    """The rules; ``draw`` gives a random number from 0 to 1, ``cap`` is the longest delay."""

    max_faults: int
    cap: LongestDelay
    draw: Callable[[], float]

    @staticmethod
    def away(breaker: Breaker) -> GivenBack:
        """The service is away and was not called: the send is due when it may be called again."""
        return GivenBack(reason=breaker.reason, delay=breaker.wait)

    def failed(self, send: Send, breaker: Breaker, reason: str) -> GivenBack:
        """A call failed, but no fault counts against the send.

        It is due later than the next probe: else a send that always fails would be every probe.
        """
        delay = breaker.wait + backoff(max(send.attempt, 1), self.draw, cap=self.cap)
        return GivenBack(reason=reason, delay=delay)

    def fault(self, send: Send, stage: Stage, reason: str) -> GivenBack | Settled:
        """The failure counts against the message or its person; too many faults end the send."""
        faults = send.faults + 1
        if faults >= self.max_faults:
            return _given_up(stage, (*send.answers, reason), faults)
        return GivenBack(reason=reason, delay=self.after_fault(faults), is_fault=True)

    def exhausted(self, send: Send) -> Settled | None:
        """The end of a send whose tries are used up; its last POST was found not to be stored."""
        if send.faults < self.max_faults:
            return None
        return _given_up("post", send.answers, send.faults)

    def after_fault(self, faults: int) -> timedelta:
        """How long a send waits after so many faults."""
        return backoff(faults, self.draw, cap=self.cap)


def _given_up(stage: Stage, answers: Sequence[str], faults: int) -> Settled:
    reason = f"{'; '.join(dict.fromkeys(answers))} (tried {faults} times)"
    return Settled(outcome="failed", stage=stage, reason=reason)
