"""When a tick will be done."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from attrs import evolve

from sbm.model.open_tick import OpenTick

NOW = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)
TICK = OpenTick(
    id=1,
    source="clock",
    state="expanded",
    schedule_id=1,
    due_at=NOW,
    created_at=NOW - timedelta(minutes=10),
    triggers=100,
    live=75,
    expanded_up_to=UUID(int=0),
    now=NOW,
)


def test_it_goes_on_as_fast_as_up_to_now() -> None:
    assert (TICK.settled, TICK.members) == (25, 100)
    assert TICK.expected_end == NOW + timedelta(minutes=30)


def test_the_members_of_a_tick_that_is_being_expanded_are_estimated() -> None:
    expanding = evolve(TICK, state="expanding", expanded_up_to=UUID(int=2**127))
    assert expanding.members == 200
    assert expanding.expected_end == NOW + timedelta(minutes=70)


@pytest.mark.parametrize(
    "tick",
    [
        evolve(TICK, live=100),
        evolve(TICK, triggers=500_000, live=499_999, created_at=NOW - timedelta(days=6)),
        evolve(TICK, created_at=NOW + timedelta(days=1)),  # a clock that was wrong
    ],
)
def test_nothing_is_promised_of_a_tick_that_has_hardly_begun(tick: OpenTick) -> None:
    assert tick.expected_end is None
