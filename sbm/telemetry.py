"""The counters and gauges of the daemon; an injected object."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import define, field, frozen

from sbm.model.hold import HeldTick
from sbm.model.send import Send, SendResult, Settled
from sbm.model.send_pause import SendPause
from sbm.model.tick_times import CallsOfDay

Labels = tuple[tuple[str, str], ...]

# Counts answers of other services, by service and by the limit that they exceed.
ANSWERS_REFUSED = "answers.refused"

# There are two names for each message set, and some thirty more. If sets are renamed again and
# again while the Metrics API is away, the names must not fill the memory.
MOST_NAMES = 10_000

# Of so many answers of each service it is remembered how long they took.
LATENCIES_KEPT = 200


@define(eq=False, slots=False, kw_only=True)
class PendingMetrics:
    """The values that are still to be sent to the Metrics API, by name.

    Values are kept only if ``is_kept``: a Metrics API is configured. The end of a name says how its
    values are combined: those of ``.sum`` are added up, and a ``.last`` replaces the one before.
    ``dropped`` counts the values for which there was no room.
    """

    is_kept: bool = False
    values: dict[str, float] = field(factory=dict)
    dropped: int = 0

    def add(self, name: str, value: float = 1.0) -> None:
        """Add a value, which is sent next; if there are too many names, drop it."""
        if not self.is_kept:
            return
        if name not in self.values and len(self.values) >= MOST_NAMES:
            self.dropped += 1
            return
        before = self.values.get(name, 0.0) if name.endswith(".sum") else 0.0
        self.values[name] = before + value

    def take(self) -> dict[str, float]:
        """Remove all values and return them."""
        taken, self.values = self.values, {}
        return taken

    def put_back(self, taken: Mapping[str, float]) -> None:
        """Add values again that were not sent; a newer value of ``.last`` is kept."""
        for name, value in taken.items():
            if name.endswith(".sum") or name not in self.values:
                self.add(name, value)


class ServiceState(Protocol):
    """The state of another service: whether it is away, the reason, and the probe.

    ``probe`` names the single send that is tried next. It is empty if that is not known yet, or if
    no probe is needed.
    """

    reason: str
    probe: str

    @property
    def is_probing(self) -> bool:
        """Whether it is away."""

    @property
    def wait(self) -> timedelta:
        """How long no call is made."""


class GateState(Protocol):
    """Whether the daemon works by itself, and if not, why not and what to do."""

    @property
    def is_open(self) -> bool:
        """Whether it works."""

    @property
    def reason(self) -> str:
        """Why it does not; empty if it does."""


@define(eq=False, slots=False, kw_only=True)
class Latency:
    """How many seconds the latest answers of a service took."""

    _seconds: deque[float] = field(factory=lambda: deque(maxlen=LATENCIES_KEPT), init=False)

    def note(self, seconds: float) -> None:
        """An answer took so long."""
        self._seconds.append(seconds)

    @property
    def count(self) -> int:
        """How many answers are remembered."""
        return len(self._seconds)

    @property
    def usual(self) -> float:
        """The median; 0 if there was no answer."""
        return sorted(self._seconds)[len(self._seconds) // 2] if self._seconds else 0.0

    @property
    def longest(self) -> float:
        """The longest; 0 if there was no answer."""
        return max(self._seconds, default=0.0)


@frozen(kw_only=True)
class MissingTicks:
    """The ticks that did not come: since when each ``overdue`` schedule waits for one.

    ``calls`` are those for single subscriptions, in the last day; None: there are no such calls. Of
    ``unwatched`` schedules it is not known when their ticks are due.
    """

    overdue: Mapping[int, datetime]
    calls: CallsOfDay | None
    unwatched: int


@define(eq=False, slots=False, kw_only=True)
class Telemetry:
    """Counters since the start of the process, and gauges, which have the present values.

    There are few names. They and their labels come from the code, never from messages, and never
    identify a person. ``pending_metrics`` is for the Metrics API, which uses other names.
    ``services`` are those that the daemon calls, by name, and ``latencies`` say how long they take,
    by the same names. ``gate`` is in front of all its work.
    ``send_pauses`` are the pauses of sends that have not ended, and ``held_ticks`` are the ticks
    that wait for a person.
    ``server_warning`` says what an operator has to look at in the servers of the database.
    ``ticks`` says which ticks did not come; None: nobody has looked yet. ``reasons`` say what is
    wrong with all daemons together, by subject; empty texts: nothing is.
    """

    counts: Counter[str] = field(factory=Counter)
    labelled: dict[str, Counter[Labels]] = field(factory=dict)
    gauges: dict[tuple[str, Labels], float] = field(factory=dict)
    pending_metrics: PendingMetrics = field(factory=PendingMetrics)
    services: dict[str, ServiceState] = field(factory=dict)
    latencies: dict[str, Latency] = field(factory=dict)
    gate: GateState | None = None
    send_pauses: Sequence[SendPause] = ()
    held_ticks: Sequence[HeldTick] = ()
    server_warning: str = ""
    ticks: MissingTicks | None = None
    reasons: dict[str, str] = field(factory=dict)

    def latency_of(self, service: str) -> Latency:
        """How long the answers of this service take; one for all its clients."""
        return self.latencies.setdefault(service, Latency())

    def count(self, name: str, by: int = 1, **labels: str) -> None:
        """Add to a counter; each set of labels has its own. Zero makes a counter visible."""
        if labels:
            counter = self.labelled.setdefault(name, Counter())
            counter[tuple(sorted(labels.items()))] += by
        else:
            self.counts[name] += by

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge to a value; each set of labels has its own gauge."""
        self.gauges[name, tuple(sorted(labels.items()))] = value

    def gauge_each(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Set a gauge for each value of one label, and forget those of other values."""
        for key in [key for key in self.gauges if key[0] == name]:
            del self.gauges[key]
        for value_of_label, value in values.items():
            self.gauges[name, ((label, value_of_label),)] = value

    def measured(self, name: str, **labels: str) -> float | None:
        """The value to which a gauge was set last, or None if it was never set."""
        return self.gauges.get((name, tuple(sorted(labels.items()))))

    def settled(self, send: Send, result: SendResult) -> None:  # noqa: ARG002
        """A result is committed: count it by its kind."""
        kind = result.outcome if isinstance(result, Settled) else type(result).__name__.lower()
        self.count(f"sends.{kind}")
        if not isinstance(result, Settled) and result.is_fault:
            self.count("sends.at_fault")
