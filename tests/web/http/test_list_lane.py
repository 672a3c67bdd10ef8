"""Whose list is read when."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from sbm.web.http.http_errors import Busy
from sbm.web.http.list_lane import MAX_WAITING, OF_USER, ListLane


@define(eq=False)
class Readers:
    """People whose lists are read until the test says that they are done."""

    lane: ListLane
    reading: list[tuple[str, Deferred[None]]] = field(factory=list)

    def ask(self, user: str) -> Deferred[Any]:
        async def work() -> str:
            done: Deferred[None] = Deferred()
            self.reading.append((user, done))
            await done
            return user

        return Deferred.fromCoroutine(self.lane.run(user, work))

    def finish(self, place: int = 0) -> None:
        self.reading.pop(place)[1].callback(None)

    @property
    def users(self) -> list[str]:
        return [user for user, _ in self.reading]


@pytest.fixture
def readers() -> Readers:
    return Readers(ListLane(most=3))


def test_as_many_are_read_at_once_as_there_are_places(readers: Readers) -> None:
    asked = [readers.ask(user) for user in "abcde"]
    assert readers.users == ["a", "b", "c"]
    readers.finish(1)
    assert readers.users == ["a", "c", "d"]
    assert [one.called for one in asked] == [False, True, False, False, False]


def test_one_user_leaves_places_to_others(readers: Readers) -> None:
    for _ in range(OF_USER + 2):
        readers.ask("a")
    readers.ask("b")
    assert readers.users == ["a"] * OF_USER + ["b"]
    readers.finish()
    assert readers.users == ["a"] * (OF_USER - 1) + ["b", "a"]


def test_what_fails_leaves_its_place(readers: Readers) -> None:
    async def fail() -> None:
        raise LookupError

    for _ in range(5):
        failed = Deferred.fromCoroutine(readers.lane.run("a", fail))
        failed.addErrback(lambda failure: failure.trap(LookupError))
    for user in "abc":
        readers.ask(user)
    assert readers.users == ["a", "b", "c"]


def test_whoever_hangs_up_leaves_the_queue(readers: Readers) -> None:
    for user in "aab":
        readers.ask(user)
    gone = [readers.ask(user) for user in "ac"]
    for one in gone:
        one.addErrback(lambda failure: failure.trap(CancelledError))
        one.cancel()
    readers.ask("d")
    readers.finish()
    readers.finish()
    assert readers.users == ["b", "d"]


def test_more_than_can_wait_are_sent_away(readers: Readers) -> None:
    for number in range(3 + MAX_WAITING):
        readers.ask(str(number))
    refused: list[Any] = []
    readers.ask("late").addErrback(lambda failure: refused.append(failure.trap(Busy)))
    assert refused == [Busy]
    readers.finish()
    assert not readers.ask("in time").called


def test_of_users_who_are_gone_nothing_is_kept(readers: Readers) -> None:
    asked = [readers.ask(str(number)) for number in range(20)]
    asked[-1].addErrback(lambda failure: failure.trap(CancelledError))
    asked[-1].cancel()
    while readers.reading:
        readers.finish()
    assert readers.lane._of_user == {}
