"""What the daemon counts and measures while it works; an injected object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

from sbm.model.send import Send, SendResult, Settled

Labels = tuple[tuple[str, str], ...]

# Two for each message set, and some thirty more. Sets that are renamed again and again while the
# Metrics API is away must not fill the memory.
MOST_NAMES = 10_000


@define(eq=False, slots=False, kw_only=True)
class Tally:
    """What the Metrics API is still to be told: values by name, kept once there is one to tell.

    The end of a name says how its values come together: ``.sum`` adds up, ``.last`` replaces.
    ``dropped`` counts the values for which there was no room.
    """

    is_kept: bool = False
    values: dict[str, float] = field(factory=dict)
    dropped: int = 0

    def tell(self, name: str, value: float = 1.0) -> None:
        """Add a value to what is to be told next; of a name too many it is dropped."""
        if not self.is_kept:
            return
        if name not in self.values and len(self.values) >= MOST_NAMES:
            self.dropped += 1
            return
        before = self.values.get(name, 0.0) if name.endswith(".sum") else 0.0
        self.values[name] = before + value

    def take(self) -> dict[str, float]:
        """Everything, which is then not to be told any more."""
        taken, self.values = self.values, {}
        return taken

    def put_back(self, taken: Mapping[str, float]) -> None:
        """It was not told, after all; a last value has perhaps been replaced meanwhile."""
        for name, value in taken.items():
            if name.endswith(".sum") or name not in self.values:
                self.tell(name, value)


class Watched(Protocol):
    """Another service, as far as it is known: whether it is away, why, and who shows if it is back.

    ``probe`` is the single send that is tried next; empty: it is not known yet, or not needed.
    """

    reason: str
    probe: str

    @property
    def is_probing(self) -> bool:
        """Whether it is away."""


@define(eq=False, slots=False, kw_only=True)
class Telemetry:
    """Counters since the start of the process, and gauges, which say how things stand now.

    There are few names, and they and their labels come from the code: never from what is sent, and
    never about somebody. ``tally`` is for the Metrics API, whose names are others. ``services`` are
    those that the daemon calls, by name.
    """

    counts: Counter[str] = field(factory=Counter)
    labelled: dict[str, Counter[Labels]] = field(factory=dict)
    gauges: dict[tuple[str, Labels], float] = field(factory=dict)
    tally: Tally = field(factory=Tally)
    services: dict[str, Watched] = field(factory=dict)

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter; each set of labels has one of its own. Zero makes it known."""
        if labels:
            counter = self.labelled.setdefault(name, Counter())
            counter[tuple(sorted(labels.items()))] += by
        else:
            self.counts[name] += by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge to a value; each set of labels has one of its own."""
        self.gauges[name, tuple(sorted(labels.items()))] = value

    def measured(self, name: str, **labels: str) -> float | None:
        """What a gauge was last set to, or None: never yet."""
        return self.gauges.get((name, tuple(sorted(labels.items()))))

    def settled(self, send: Send, result: SendResult) -> None:  # noqa: ARG002
        """A result is committed: count it by its kind."""
        kind = result.outcome if isinstance(result, Settled) else type(result).__name__.lower()
        self.count(f"sends.{kind}")
        if not isinstance(result, Settled) and result.is_fault:
            self.count("sends.at_fault")
