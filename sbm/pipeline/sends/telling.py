"""What is told of results once they are committed: doubles, and values for the Metrics API."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from sbm.model import metrics
from sbm.model.send import Asked, Send, SendResult, Settled, Unread
from sbm.store import sends
from sbm.telemetry import Tally, Telemetry


def tell_doubles(committed: sends.Committed, telemetry: Telemetry, log: Logger) -> None:
    """Say of which sends the Message Sender holds more than one outbound."""
    for send_id, outbound_id in committed.doubles:
        telemetry.count("sends.doubled")
        log.error(
            "send {id} is doubled: the Message Sender holds outbound {outbound_id}, too",
            id=send_id,
            outbound_id=outbound_id,
        )


def tell_metrics(
    committed: sends.Committed,
    results: Iterable[tuple[Send | Asked | Unread, SendResult]],
    tally: Tally,
) -> None:
    """Count, for the Metrics API, what this commit and no other has settled."""
    for send, result in results:
        if not isinstance(result, Settled) or send.id not in committed.messagesets:
            continue
        if result.outcome in ("sent", "adopted"):
            for name in metrics.of_message(*committed.messagesets[send.id]):
                tally.tell(name)
        elif result.is_unaddressed and isinstance(send, Send) and send.kind == "next":
            tally.tell(metrics.ERRORED)
    if committed.chained:
        tally.tell(metrics.CREATED, committed.chained)
