"""The gate in front of all work."""

from __future__ import annotations

import pytest

from sbm.runtime.work_gate import GateClosed, WorkGate


def test_it_is_closed_until_the_database_was_judged_and_no_pause_is_left() -> None:
    gate = WorkGate()
    gate.judge("a")
    with pytest.raises(GateClosed):
        gate.admit("a")
    gate.pauses = ()
    gate.admit("a")
    assert gate.reason == ""


def test_another_server_closes_it_before_the_first_transaction_there() -> None:
    gate = WorkGate.opened()
    gate.judge("a")
    gate.admit("a")
    gate.admit(None)
    with pytest.raises(GateClosed):
        gate.admit("b")
    with pytest.raises(GateClosed):
        gate.admit("a")
    gate.judge("b")
    gate.admit("b")


def test_it_opens_earlier_for_ticks_but_not_during_pauses() -> None:
    gate = WorkGate(pauses=())
    assert not gate.ticks.is_open
    gate.let_tick("a")
    gate.ticks.admit("a")
    with pytest.raises(GateClosed):
        gate.admit("a")
    gate.pauses = ("one",)
    with pytest.raises(GateClosed):
        gate.ticks.admit("a")
    gate.pauses = ()
    with pytest.raises(GateClosed):
        gate.ticks.admit("b")


def test_the_reason_says_all_that_keeps_it_closed() -> None:
    gate = WorkGate.opened()
    gate.pauses, gate.waiting = ("one", "two"), "first"
    assert gate.reason == "first; one; two"
