"""Leases by this machine's own clock, and how much the clocks of two machines may differ."""

from __future__ import annotations

import time
from datetime import timedelta

from attrs import frozen

from sbm.model.durations import LeaseTime, RequestTimeout

# The largest difference between the clock of another service and ours, when times are compared.
CLOCK_MARGIN = timedelta(hours=24)

# How much longer a lease must last than the timeout of the request that it covers.
SPARE = timedelta(seconds=1)


def uptime() -> float:
    """Seconds on a clock that goes on while the machine is suspended, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@frozen(kw_only=True)
class Lease:
    """Until when a claim belongs to its owner, in seconds of ``uptime``."""

    end: float

    @classmethod
    def asked_for(cls, lease_time: LeaseTime, *, at: float) -> Lease:
        """The lease that a statement gives, counted from before the statement was sent.

        So it never ends earlier in the database than here.
        """
        return cls(end=at + lease_time.total_seconds())

    def outlasts(self, timeout: RequestTimeout, *, now: float) -> bool:
        """Whether it still covers a request with that timeout, and a second more.

        This rule keeps a request from being made after its lease: it is checked in the same
        callback that writes the first byte.
        """
        return now + (timeout + SPARE).total_seconds() <= self.end


# The lease of an owner that has lost the claim.
LOST = Lease(end=float("-inf"))
