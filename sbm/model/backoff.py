"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sbm.model.durations import LongestDelay

FIRST = timedelta(seconds=1)
CAP = LongestDelay(timedelta(seconds=60))


def backoff(failures: int, draw: Callable[[], float], *, cap: LongestDelay = CAP) -> timedelta:
    """Full jitter: anything up to 1 s after the first failure, doubling with each, up to ``cap``.

    ``failures`` counts from 1; ``draw`` gives a random number from 0 to 1. The delay is drawn from
    the whole interval, so that clients that failed together do not try again together.
    """
    if failures < 1:
        raise ValueError("there is nothing to wait for before the first failure")
    doublings = min(failures - 1, 32)
    longest: timedelta = min(FIRST * 2**doublings, cap)
    return longest * draw()
