from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sbm.runtime.time_slices import SECONDS, TimeSlice


def test_a_slice_is_over_after_its_time_and_the_next_one_begins_with_its_turn() -> None:
    clock = Clock()
    slices = TimeSlice(reactor=clock)
    over = [slices.is_over]
    clock.advance(SECONDS)
    over.append(slices.is_over)
    turn = Deferred.fromCoroutine(slices.next_turn())
    had_turn = [turn.called]
    clock.advance(SECONDS)
    over.append(slices.is_over)
    had_turn.append(turn.called)
    assert had_turn == [False, True]
    assert over == [False, True, False]
