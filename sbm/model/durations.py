"""Durations as types of their own, so that mypy finds it if two of them are confused.

A request must end within its lease, and the settle time must be over before the absence of a
message proves anything. If two durations are swapped, a message may be sent twice, and this shows
only after a crash.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NewType

# One deadline over connection, request and body of a call to another service.
RequestTimeout = NewType("RequestTimeout", timedelta)

# How long a claim is valid without being renewed.
LeaseTime = NewType("LeaseTime", timedelta)

# If a service does not list a request after this time, it will not list it later either.
SettleTime = NewType("SettleTime", timedelta)

# How long work in progress may continue when the daemon stops.
StopGrace = NewType("StopGrace", timedelta)

# The longest delay between two tries, unless a service asks for a longer one.
LongestDelay = NewType("LongestDelay", timedelta)

# How long after its due time a tick is still opened.
TickGrace = NewType("TickGrace", timedelta)
