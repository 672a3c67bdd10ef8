"""Leases by this machine's own clock, and by how much the clocks of two machines may differ."""

from __future__ import annotations

import time
from datetime import timedelta

from attrs import frozen

from sbm.model.durations import LeaseTime, RequestTimeout

# By so much at most may the clock of another service and ours be apart, where we compare them.
CLOCK_MARGIN = timedelta(hours=24)

# What a lease must have left beyond the timeout of the request that it covers.
SPARE = timedelta(seconds=1)


def uptime() -> float:
    """Seconds on a clock that goes on while the machine sleeps, as a lease does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@frozen(kw_only=True)
class Lease:
    """Until when a claim is its owner's, in seconds of ``uptime``."""

    end: float

    @classmethod
    def asked_for(cls, lease_time: LeaseTime, *, at: float) -> Lease:
        """The lease that a statement gives, counted from before the statement was sent.

        So it never ends earlier in the database than here.
        """
        return cls(end=at + lease_time.total_seconds())

    def outlasts(self, timeout: RequestTimeout, *, now: float) -> bool:
        """Whether it still covers a request with that timeout, and a second more.

        This is the rule that keeps a request from being made after its lease: it is asked in the
        very callback that writes the first byte.
        """
        return now + (timeout + SPARE).total_seconds() <= self.end


# What an owner has when somebody else has taken the claim.
LOST = Lease(end=float("-inf"))
