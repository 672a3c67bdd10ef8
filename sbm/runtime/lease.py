"""Leases by this machine's own clock, and by how much the clocks of two machines may differ."""

from __future__ import annotations

import time
from datetime import timedelta

from sbm.model.durations import RequestTimeout

# By so much at most may the clock of another service and ours be apart, where we compare them.
CLOCK_MARGIN = timedelta(hours=24)

# What a lease must have left beyond the timeout of the request that it covers.
SPARE = timedelta(seconds=1)


def uptime() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def outlasts(lease_end: float, timeout: RequestTimeout, *, now: float) -> bool:
    """Whether a lease still covers a request with that timeout, and a second more.

    ``lease_end`` and ``now`` are seconds of ``uptime``. This is the rule that keeps a request from
    being made after its lease: it is asked in the very callback that writes the first byte.
    """
    return now + (timeout + SPARE).total_seconds() <= lease_end
