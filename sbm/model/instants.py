"""How moments are written in JSON."""

from __future__ import annotations

from datetime import datetime, timezone


def instant(moment: datetime) -> str:
    """An aware time in ISO 8601, in UTC: with microseconds unless there are none."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"
