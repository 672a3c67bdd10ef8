"""What is told of results once they are committed: doubles, and values for the Metrics API."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from sbm.model import metrics
from sbm.model.send import Send, SendResult, Settled, UnknownSend, UnreadableSend
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


def count_metrics(
    committed: sends.SettledBatch,
    results: Iterable[tuple[Send | UnknownSend | UnreadableSend, SendResult]],
    pending_metrics: PendingMetrics,
) -> None:
    """Count, for the Metrics API, what this commit and no other has settled."""
    if not pending_metrics.is_kept:
        return
    for send, result in results:
        if not isinstance(result, Settled) or send.id not in committed.messagesets:
            continue
        if result.outcome in ("sent", "adopted"):
            for name in metrics.of_message(*committed.messagesets[send.id]):
                pending_metrics.add(name)
        elif result.is_unaddressed and isinstance(send, Send) and send.kind == "next":
            pending_metrics.add(metrics.ERRORED)
    if committed.chained:
        pending_metrics.add(metrics.CREATED, committed.chained)
