"""Durations that must not be taken for each other: mypy knows them apart.

A request must end within its lease, and be settled before its absence proves anything: who swaps
two of these breaks the promise that nothing is sent twice, and would see it only in a crash.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NewType

# One deadline over connection, request and body of a call to another service.
RequestTimeout = NewType("RequestTimeout", timedelta)

# For how long a claim is its owner's without being renewed.
LeaseTime = NewType("LeaseTime", timedelta)

# After which a service that does not list what it was told will not come to list it any more.
SettleTime = NewType("SettleTime", timedelta)

# For how long work that is under way may go on when the daemon stops.
StopGrace = NewType("StopGrace", timedelta)

# No delay between two tries is longer, but for what a service asks for.
LongestDelay = NewType("LongestDelay", timedelta)

# How long after its moment a tick is still made.
TickGrace = NewType("TickGrace", timedelta)
