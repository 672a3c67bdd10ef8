"""How many passwords are checked at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from threading import get_native_id
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from sbm.model.user import User
from sbm.web.http.http_errors import Busy
from sbm.web.http.passwords import MAX_AT_ONCE, MAX_WAITING, NICENESS, NiceThreads, Passwords


@define(eq=False)
class Threads:
    """A reactor and the threads for passwords, which do nothing until they are told to."""

    work: list[Callable[[], None]] = field(factory=list)

    def seconds(self) -> float:
        return 0.0

    def callFromThread(self, work: Callable[..., None], *given: Any) -> None:
        work(*given)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], work: Callable[..., Any], *given: Any, **more: Any
    ) -> None:
        self.work.append(lambda: done(True, work(*given, **more)))


class NoUsers:
    """A database in which nobody is found."""

    async def transact(self, *given: Any, **more: Any) -> None:
        return None


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def check(threads: Threads) -> Callable[[], Deferred[User | None]]:
    """Begin to check a password."""
    database: Any = NoUsers()
    passwords = Passwords(database=database, reactor=threads, pool=threads)
    numbers = count()

    def begin() -> Deferred[User | None]:
        password = f"pw{next(numbers)}"
        work: Coroutine[Deferred[Any], Any, User | None] = passwords.user_with("bob", password)
        return Deferred.fromCoroutine(work)

    return begin


Check = Callable[[], Deferred[Any]]


def test_only_a_few_are_checked_at_once(threads: Threads, check: Check) -> None:
    checks = [check() for _ in range(MAX_AT_ONCE + 1)]
    assert len(threads.work) == MAX_AT_ONCE
    threads.work.pop(0)()
    assert [one.called for one in checks] == [True] + [False] * MAX_AT_ONCE
    assert len(threads.work) == MAX_AT_ONCE


def test_a_name_that_nobody_has_is_checked_too(threads: Threads, check: Check) -> None:
    answer = check()
    threads.work.pop()()
    assert answer.result is None


def test_a_client_that_hangs_up_keeps_its_thread_until_that_is_done(
    threads: Threads, check: Check
) -> None:
    for _ in range(MAX_AT_ONCE):
        gone = check()
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        gone.cancel()
    next_one = check()
    assert len(threads.work) == MAX_AT_ONCE
    threads.work.pop(0)()
    threads.work.pop()()
    assert next_one.called


def test_one_that_hangs_up_while_it_waits_gives_way(threads: Threads, check: Check) -> None:
    for _ in range(MAX_AT_ONCE):
        check()
    gone, next_one = check(), check()
    gone.addErrback(lambda failure: failure.trap(CancelledError))
    gone.cancel()
    threads.work.pop(0)()
    threads.work.pop()()
    assert next_one.called


def test_more_than_can_wait_are_sent_away(threads: Threads, check: Check) -> None:
    for _ in range(MAX_AT_ONCE + MAX_WAITING):
        check()
    refused: list[Any] = []
    check().addErrback(lambda failure: refused.append(failure.trap(Busy)))
    assert refused == [Busy]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have no niceness")
def test_a_thread_that_checks_passwords_gives_way_to_all_else() -> None:
    found: list[int] = []

    def niceness() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, get_native_id()))

    thread = NiceThreads.threadFactory(target=niceness)
    thread.start()
    thread.join()
    niceness()
    assert found[0] == NICENESS > found[1]
