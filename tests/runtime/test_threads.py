"""Work in threads, and work that nobody waits for any longer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from sbm.runtime.threads import in_thread, shielded


@ensureDeferred
async def test_work_is_done_in_another_thread() -> None:
    assert await in_thread(reactor, threading.get_ident) != threading.get_ident()


@ensureDeferred
async def test_what_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(reactor, divmod, 1, 0)


@pytest.mark.parametrize("result", [7, ValueError("no")])
def test_who_waits_for_shielded_work_may_be_cancelled_and_the_work_may_not(result: Any) -> None:
    work: Deferred[Any] = Deferred()
    waiting = shielded(work)
    ended: list[Any] = []
    waiting.addErrback(lambda failure: ended.append(failure.type))
    waiting.cancel()
    assert ended == [CancelledError]
    assert not work.called
    work.callback(result) if result == 7 else work.errback(result)
    work.addBoth(ended.append)
    assert ended[1:] == [7 if result == 7 else None]


def test_shielded_work_tells_how_it_ended() -> None:
    well: Deferred[int] = Deferred()
    badly: Deferred[int] = Deferred()
    ended: list[Any] = []
    shielded(well).addCallback(ended.append)
    shielded(badly).addErrback(lambda failure: ended.append(failure.type))
    well.callback(1)
    badly.errback(ValueError("no"))
    assert ended == [1, ValueError]
