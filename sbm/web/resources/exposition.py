"""``/metrics``: the counters and gauges of this process, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.web.server import Request

from sbm.telemetry import ANSWERS_REFUSED, Labels, Telemetry
from sbm.web.http.endpoint import only_read
from sbm.web.http.refused_requests import CUT_OFF, NOT_DONE, REFUSED
from sbm.web.openapi.parts import Operation, PathItem, Section, allow
from sbm.web.schema.json_schema import TEXT

# Shown from the start, with 0: a rate needs a value before the first event.
_COUNTERS: Mapping[str, str] = {
    "sends.sent": "Sends that the Message Sender took.",
    "sends.adopted": "Sends of unknown outcome that were found in the Message Sender.",
    "sends.dry-run": "Sends of message sets that are in dry run: nothing was posted.",
    "sends.skipped": "Sends that were skipped, because they were no longer right.",
    "sends.refused": "Sends that the Message Sender refused.",
    "sends.failed": "Sends that failed: no content, no address, or too many faults.",
    "sends.givenback": "Claims given back: nothing was posted, and the send is owed again.",
    "sends.unknown": "Posts whose outcome is unknown.",
    "sends.owed_again": "Sends of unknown outcome that the Message Sender did not have.",
    "sends.at_fault": "Failed calls that count against one message or person, not the service.",
    "sends.locked": "Results that waited for a subscription that was locked.",
    "sends.lost": "Results that came after the claim was lost.",
    "sends.doubled": "Outbounds of a send besides the one that it was settled with.",
    "scheduler_callbacks.joined": "Repeated calls by the Scheduler, which triggered nothing.",
    "scheduler_callbacks.unmatched": "Calls by the Scheduler that match no due moment.",
    "clock.jumps": "Times that the database's clock was set, as this process saw it.",
    "database.went_back": "Times that this process saw that the database went back.",
    "database.server_changes": "Times that the database was found on another server or timeline.",
    "metrics.lost": "Values that the Metrics API refused, or perhaps did not get.",
    "metrics.dropped": "Values for the Metrics API that were dropped: too many names are waiting.",
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
    ANSWERS_REFUSED: (
        "Answers of other services that were not read to their end, by the limit they exceed.",
        ("service", "limit"),
    ),
}
_GAUGES: Mapping[str, str] = {
    "sends.live": "Live sends in the database, by state and lane.",
    "sends.held": "Owed sends that are held back, by reason and lane.",
    "sends.oldest_owed_seconds": "How long the oldest owed send has been owed; 0: there is none."
    " What is held back does not count.",
    "sends.oldest_unknown_seconds": "For how long a send has been unknown at most; 0: none is.",
    "scheduler_calls.owed": "Calls to the Scheduler that are owed.",
    "scheduler_calls.oldest_owed_seconds": "How long the oldest has been owed; 0: there is none.",
    "scheduler_calls.refused": "Calls that the Scheduler has refused.",
    "doubles": "Outbounds in the database besides the one that a send was settled with.",
    "send_pauses": "Pauses of sends that have not ended.",
    "paused": "1 if this process does no work by itself, because of a pause, else 0.",
    "ticks.of_day": "Ticks of schedules in the last day that were opened, late, or missed.",
    "schedule.last_tick_at": "When this schedule ticked last, in Unix time.",
    "schedule.next_tick_at": "When this schedule should tick next, in Unix time.",
    "schedule.overdue": "1 if this schedule waits for a tick longer than the grace, else 0.",
    "scheduler_callbacks.expected_of_day": "Calls for subscriptions that were due in the last day.",
    "scheduler_callbacks.came_of_day": "Triggers of single subscriptions in the last day.",
    "service.away": "1 if this service is away for the daemon, else 0.",
    "clock.doubted_seconds": "Seconds until the database's clock is trusted; 0: it is trusted.",
    "clock.last_jump_seconds": "By how much the clock was set the last time; negative: back.",
    "database.timeline": "The timeline of the database's server: each promotion begins a new one.",
    "database.servers_doubted": "1 if two servers accept writes, or only a wrong one does, else 0.",
    "ledger.unbalanced_ticks": "Ticks whose triggers are not all accounted for.",
    "deliveries.read_until": "Until when outbounds were looked at by this process, by look, in Unix"
    " time.",
    "ledger.checked_at": "When this process last checked the ledger balance, in Unix time.",
}
_NAMES: Mapping[str, str] = {
    "deliveries.read_until": "deliveries_read_until_timestamp_seconds",
    "ledger.checked_at": "ledger_checked_timestamp_seconds",
    "schedule.last_tick_at": "schedule_last_tick_timestamp_seconds",
    "schedule.next_tick_at": "schedule_next_tick_timestamp_seconds",
}


@frozen(eq=False, kw_only=True)
class PrometheusMetrics(Collector):
    """The counters and gauges of a process, in a registry of their own.

    They need neither the database nor authentication: they are only numbers.
    """

    _telemetry: Telemetry
    _version: str
    _registry: CollectorRegistry = field(factory=lambda: CollectorRegistry(auto_describe=False))

    def __attrs_post_init__(self) -> None:
        self._registry.register(self)

    def answer(self, request: Request) -> bytes:
        """All counters and gauges, with their present values."""
        only_read(request)
        body = b"" if request.method == b"OPTIONS" else generate_latest(self._registry)
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body

    def collect(self) -> Iterator[Metric]:
        """The metrics, each time the registry is written."""
        build = GaugeMetricFamily("sbm_build_info", "The version that runs.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build
        counts = dict.fromkeys(_COUNTERS, 0) | self._telemetry.counts
        counts["metrics.dropped"] = self._telemetry.pending_metrics.dropped
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
        gauges["send_pauses"] = [((), float(len(self._telemetry.send_pauses)))]
        if self._telemetry.gate is not None:
            gauges["paused"] = [((), float(not self._telemetry.gate.is_open))]
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
    """The name in Prometheus, without the ``_total`` of a counter."""
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
                            "description": "All counters and gauges.",
                            "headers": allow(),
                            "content": {"text/plain": {"schema": TEXT}},
                        }
                    },
                )
            },
        ),
    ],
)
