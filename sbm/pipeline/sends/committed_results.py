"""What is told of results once they are committed: doubles, and values for the Metrics API."""

from __future__ import annotations

from twisted.logger import Logger

from sbm.model import metrics
from sbm.store import sends
from sbm.telemetry import PendingMetrics, Telemetry


def report_doubles(committed: sends.SettledBatch, telemetry: Telemetry, log: Logger) -> None:
    """Say of which sends the Message Sender holds more than one outbound."""
    for send_id, outbound_id in committed.doubles:
        telemetry.count("sends.doubled")
        log.error(
            "send {id} is doubled: the Message Sender holds outbound {outbound_id}, too",
            id=send_id,
            outbound_id=outbound_id,
        )


def count_metrics(committed: sends.SettledBatch, pending_metrics: PendingMetrics) -> None:
    """Count, for the Metrics API, what this commit and no other has settled."""
    if not pending_metrics.is_kept:
        return
    for content_type, short_name, count in committed.sent:
        for name in metrics.of_message(content_type, short_name):
            pending_metrics.add(name, count)
    if committed.unaddressed:
        pending_metrics.add(metrics.ERRORED, committed.unaddressed)
    if committed.chained:
        pending_metrics.add(metrics.CREATED, committed.chained)
