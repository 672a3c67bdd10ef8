"""Blocking work in threads, and work that goes on when nobody waits for it any longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")


def in_thread(reactor: Any, work: Callable[..., T], *args: Any) -> Deferred[T]:
    """Do ``work(*args)``, which blocks, in a thread of the reactor's pool."""
    return deferToThreadPool(reactor, reactor.getThreadPool(), work, *args)


def shielded(deferred: Deferred[T]) -> Deferred[T]:
    """What can be awaited in its place: cancelling that leaves the work itself alone."""
    seen: Deferred[T] = Deferred()

    def tell(result: T) -> T:
        seen.callback(result)
        return result

    def tell_failure(failure: Any) -> None:
        seen.errback(failure)

    deferred.addCallbacks(tell, tell_failure)
    return seen
