"""What ``twistd sbm`` does to the reactor."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor

from sbm.tap import keep_time


def test_timers_go_by_uptime_and_not_by_the_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that is started while that clock is a day ahead goes off in time all the same."""
    now = [1000.0]
    monkeypatch.setattr("sbm.tap.uptime", lambda: now[0])
    reactor: Any = SelectReactor()
    keep_time(reactor)
    fired: list[int] = []
    reactor.callLater(5, fired.append, 1)
    now[0] += 4.9
    reactor.runUntilCurrent()
    assert fired == []
    now[0] += 0.2
    reactor.runUntilCurrent()
    assert fired == [1]
