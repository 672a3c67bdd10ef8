"""After how long the Message Sender is asked whether messages were delivered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sbm.model.delivery import DeliveryLook
from sbm.settings.reading import Settings

_FIRST, _LAST = "SBM_DELIVERY_FIRST_SECONDS", "SBM_DELIVERY_LAST_SECONDS"


def read_delivery_delays(settings: Settings) -> Mapping[DeliveryLook, timedelta]:
    """After how long each look at an outbound comes; a look without a delay is left out."""
    first = settings.seconds(_FIRST, 3600, least=0, most=2592000)
    last = settings.seconds(_LAST, 86400, least=0, most=2592000)
    if first and last and first >= last:
        settings.problem(
            _LAST,
            f"is {last.total_seconds():g}, but must be longer than {_FIRST}"
            f" ({first.total_seconds():g})",
        )
    delays: dict[DeliveryLook, timedelta] = {"first": first, "last": last}
    return {look: delay for look, delay in delays.items() if delay}
