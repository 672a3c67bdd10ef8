"""The fence: a request begins only if its lease surely covers it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sbm.model.durations import LeaseTime, RequestTimeout
from sbm.runtime.lease import LOST, Lease

TIMES = st.integers(0, 10_000)


@given(TIMES, TIMES, TIMES, TIMES)
def test_a_request_that_may_begin_is_over_a_second_before_its_lease_ends(
    asked_at: int, lease_time: int, timeout: int, now: int
) -> None:
    lease = Lease.asked_for(LeaseTime(timedelta(seconds=lease_time)), at=asked_at)
    may_begin = lease.outlasts(RequestTimeout(timedelta(seconds=timeout)), now=now)
    assert may_begin == (now + timeout <= asked_at + lease_time - 1)


def test_a_lost_lease_covers_nothing() -> None:
    assert not LOST.outlasts(RequestTimeout(timedelta(0)), now=0)
