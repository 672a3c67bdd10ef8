"""``/metrics``: what this process counts and measures, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.web.server import Request

from sbm.telemetry import Labels, Telemetry
from sbm.web.http.errors import MethodNotAllowed
from sbm.web.http.refusals import CUT_OFF, NOT_DONE, REFUSED
from sbm.web.openapi.parts import Operation, PathItem, Section, allow
from sbm.web.schema.json_schema import TEXT

# Told from the start, with 0: a rate needs a value before the first event.
_COUNTERS: Mapping[str, str] = {
    "sends.sent": "Sends that the Message Sender took.",
    "sends.adopted": "Sends of unknown outcome that were found in the Message Sender.",
    "sends.dry-run": "Sends of message sets that are only tried out: nothing was posted.",
    "sends.skipped": "Sends that turned out to be no longer wanted.",
    "sends.refused": "Sends that the Message Sender refused.",
    "sends.failed": "Sends that failed for lack of content or address, or by faults of their own.",
    "sends.givenback": "Claims given back: nothing was posted, and the send is owed again.",
    "sends.unknown": "Posts whose outcome is unknown.",
    "sends.owed_again": "Sends of unknown outcome that the Message Sender did not have.",
    "sends.at_fault": "Failed calls that count against one message or person, not the service.",
    "sends.locked": "Results that waited for a subscription that somebody else had locked.",
    "sends.lost": "Results that came after the claim was lost.",
    "sends.doubled": "Outbounds beside the one that a send was settled with.",
    "scheduler.joined_calls": "Calls of the Scheduler that repeated one, and triggered nothing.",
    "scheduler.unmatched_calls": "Calls of the Scheduler that were done, but fit no moment.",
    "clock.jumps": "Times that the database's clock was set, as this process saw it.",
    "metrics.lost": "Values that the Metrics API refused, or may or may not have taken.",
    "metrics.dropped": "Values for the Metrics API that were dropped: too many names wait.",
}
# With their labels.
_LABELLED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    REFUSED: (
        "Requests that were answered with 400 or more, by pattern of the path and reason.",
        ("path", "status", "reason"),
    ),
    NOT_DONE: (
        "Requests that were answered with success and changed nothing, by reason.",
        ("path", "reason"),
    ),
    CUT_OFF: (
        "Requests whose connection was closed before they were answered, by cause.",
        ("path", "cause"),
    ),
}
_GAUGES: Mapping[str, str] = {
    "sends.live": "Live sends in the database, by state and lane.",
    "sends.oldest_owed_seconds": "How long the oldest owed send has been owed; 0: there is none.",
    "sends.oldest_unknown_seconds": "How long the oldest unknown send has been so; 0: none is.",
    "chores.owed": "Calls that the Scheduler is owed.",
    "chores.oldest_owed_seconds": "How long the oldest of them has been owed; 0: there is none.",
    "chores.refused": "Calls that the Scheduler has refused.",
    "doubles": "Outbounds in the database beside the one that a send was settled with.",
    "service.away": "1 while the daemon takes this service for being away, else 0.",
    "clock.doubted_seconds": "For how long the database's clock is not trusted yet; 0: it is.",
    "clock.last_jump_seconds": "By how much the clock was set last; below zero: back.",
    "law.broken_ticks": "Ticks whose triggers are not all accounted for.",
    "law.checked_at": "When this process last checked the law, in Unix time.",
}
_NAMES: Mapping[str, str] = {"law.checked_at": "law_checked_timestamp_seconds"}


@frozen(eq=False)
class PrometheusMetrics(Collector):
    """The counters and gauges of a process, in a registry of their own.

    Nothing is asked of the database, and nobody has to say who she is: there is nothing in it but
    numbers.
    """

    _telemetry: Telemetry
    _version: str
    _registry: CollectorRegistry = field(factory=lambda: CollectorRegistry(auto_describe=False))

    def __attrs_post_init__(self) -> None:
        self._registry.register(self)

    def answer(self, request: Request) -> bytes:
        """All of them, as they are now."""
        request.setHeader(b"Allow", b"GET, HEAD, OPTIONS")
        if request.method not in (b"GET", b"HEAD", b"OPTIONS"):
            raise MethodNotAllowed(request.method.decode("ascii", "replace"))
        body = b"" if request.method == b"OPTIONS" else generate_latest(self._registry)
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for when it is written."""
        build = GaugeMetricFamily("sbm_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        counts = dict.fromkeys(_COUNTERS, 0) | self._telemetry.counts
        counts["metrics.dropped"] = self._telemetry.tally.dropped
        for name, count in counts.items():
            told = _COUNTERS.get(name, f"{name}, since the start of the process.")
            yield CounterMetricFamily(_full(name), told, value=count)
        for name, (told, label_names) in _LABELLED.items():
            counted: Mapping[Labels, int] = self._telemetry.labelled.get(name, {})
            yield _labelled(name, told, label_names, counted)
        gauges: dict[str, list[tuple[Labels, float]]] = {}
        away = [
            ((("service", name),), float(service.is_probing))
            for name, service in self._telemetry.services.items()
        ]
        if away:
            gauges["service.away"] = list(away)
        for (name, labels), value in self._telemetry.gauges.items():
            gauges.setdefault(name, []).append((labels, value))
        for name, values in gauges.items():
            yield _gauge(name, values)


def _labelled(
    name: str, told: str, label_names: Sequence[str], counts: Mapping[Labels, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(_full(name), told, labels=label_names)
    for labels, count in counts.items():
        values = dict(labels)
        family.add_metric([values[label] for label in label_names], count)
    return family


def _gauge(name: str, values: Iterable[tuple[Labels, float]]) -> Metric:
    metric = Metric(_full(name), _GAUGES.get(name, f"{name}, as it is now."), "gauge")
    for labels, value in values:
        metric.add_sample(_full(name), dict(labels), value)
    return metric


def _full(name: str) -> str:
    """The name as Prometheus has it, but for the _total that a counter gets."""
    plain = _NAMES.get(name, name)
    return "sbm_" + plain.replace(".", "_").replace("-", "_")


SECTION = Section(
    paths=[
        PathItem(
            path="/metrics",
            tag="Service",
            needs_user=False,
            is_api=False,
            operations={
                "GET": Operation(
                    name="read_exposition",
                    summary="Read the counters and gauges of this process",
                    description="In the text format of Prometheus.",
                    answers={
                        200: {
                            "description": "All of them.",
                            "headers": allow(),
                            "content": {"text/plain": {"schema": TEXT}},
                        }
                    },
                )
            },
        ),
    ],
)
