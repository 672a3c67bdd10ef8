"""What the daemon counts while it works; an injected object, so that others may listen in."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from sbm.model.send import Result, Send, Settled


@define(eq=False, slots=False)
class Telemetry:
    """Counters since the start of the process."""

    counts: Counter[str] = field(factory=Counter)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.counts[name] += by

    def settled(self, send: Send, result: Result) -> None:  # noqa: ARG002
        """A result is committed: count it by its kind."""
        kind = result.outcome if isinstance(result, Settled) else type(result).__name__.lower()
        self.count(f"sends.{kind}")
