"""What the daemon counts and measures while it works; injected, so that others may listen in."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from sbm.model.send import Result, Send, Settled

Labels = tuple[tuple[str, str], ...]


@define(eq=False, slots=False)
class Telemetry:
    """Counters since the start of the process, and gauges, which say how things stand now.

    There are few names, and they and their labels come from the code: never from what is sent, and
    never about somebody.
    """

    counts: Counter[str] = field(factory=Counter)
    gauges: dict[tuple[str, Labels], float] = field(factory=dict)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        self.counts[name] += by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge to a value; each set of labels has one of its own."""
        self.gauges[name, tuple(sorted(labels.items()))] = value

    def measured(self, name: str, **labels: str) -> float | None:
        """What a gauge was last set to, or None: never yet."""
        return self.gauges.get((name, tuple(sorted(labels.items()))))

    def settled(self, send: Send, result: Result) -> None:  # noqa: ARG002
        """A result is committed: count it by its kind."""
        kind = result.outcome if isinstance(result, Settled) else type(result).__name__.lower()
        self.count(f"sends.{kind}")
