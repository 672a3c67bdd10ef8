"""Who comes when all connections are busy."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address

from sbm.runtime.listening import BriefTransport
from sbm.web.http.overload import LATE_SECONDS, LOOK_SECONDS, MOST_LATE
from tests.web.http.test_channel import GET, LIMITS, STRANGER, SiteUnderTest, Transport

FULL = evolve(LIMITS, connections=1, spare=1)


class Peeked(BriefTransport):
    """The transport of a connection on which this has come; it remembers what is done to it."""

    def __init__(self, came: bytes) -> None:
        self.came, self.said, self.is_closed = came, b"", False
        self.channel: Any = None

    def peek(self) -> bytes:
        return self.came

    def hand_over(self, protocol: Any) -> None:
        self.channel = protocol

    def write(self, data: bytes) -> None:
        self.said += data

    def loseConnection(self) -> None:
        self.is_closed = True


def full_house() -> SiteUnderTest:
    """All connections are busy, and so is the spare one."""
    house = SiteUnderTest(FULL)
    house.echo.holds = True
    house.say(house.client(STRANGER), GET)
    house.client(STRANGER)
    return house


def wait(house: SiteUnderTest, seconds: float = LATE_SECONDS) -> None:
    house.clock.pump([LOOK_SECONDS / 2] * round(2 * seconds / LOOK_SECONDS + 3))


def come(house: SiteUnderTest, came: bytes) -> Peeked:
    transport = Peeked(came)
    house.site.buildProtocol(IPv4Address("TCP", STRANGER, 1)).makeConnection(transport)
    return transport


@pytest.mark.parametrize(
    "line", [b"GET /livez HTTP/1.1", b"HEAD /readyz/?a HTTP/1.0", b"GET /livez "]
)
def test_a_probe_is_let_in_all_the_same(line: bytes) -> None:
    house = full_house()
    came = come(house, line)
    assert (came.said, came.is_closed) == (b"", False)
    transport = Transport()  # type: ignore[no-untyped-call]
    transport.protocol = came.channel
    came.channel.makeConnection(transport)
    house.echo.holds = False
    house.say(transport, b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b" 200 " in transport.value()
    assert transport.disconnecting


@pytest.mark.parametrize(
    "came",
    [b"", b"G", b"GET / HTTP/1.1", b"POST /livez HTTP/1.1", b"GET /livezz HTTP/1.1", b"\xff"],
)
def test_others_are_told_so_a_second_later(came: bytes) -> None:
    house = full_house()
    told = come(house, came)
    wait(house, LATE_SECONDS - 4 * LOOK_SECONDS)
    assert (told.said, told.is_closed) == (b"", False)
    wait(house, 4 * LOOK_SECONDS)
    assert told.said.startswith(b"HTTP/1.1 503 ")
    assert told.is_closed
    assert told.channel is None


def test_there_is_an_end_to_the_room_for_probes() -> None:
    house = full_house()
    probes = [come(house, b"GET /livez HTTP/1.1") for _ in range(3)]
    wait(house)
    assert [one.is_closed for one in probes] == [False, True, True]


def test_a_probe_whose_first_line_comes_late_is_let_in_then() -> None:
    house = full_house()
    came = come(house, b"")
    came.came = b"GET /livez HTTP/1.1"
    wait(house, LOOK_SECONDS)
    assert (came.said, came.is_closed) == (b"", False)
    assert came.channel is not None


def test_if_many_wait_for_their_refusal_others_have_theirs_at_once() -> None:
    house = full_house()
    came = [come(house, GET) for _ in range(MOST_LATE + 2)]
    assert [one.is_closed for one in came] == [False] * MOST_LATE + [True] * 2
    wait(house)
    assert all(one.said.startswith(b"HTTP/1.1 503 ") for one in came)
    assert not come(house, GET).is_closed


def test_each_waits_for_a_second() -> None:
    house = full_house()
    first = come(house, GET)
    wait(house, 0.5)
    second = come(house, GET)
    for expected in ([False, False], [True, False], [True, True]):
        assert [first.is_closed, second.is_closed] == expected
        wait(house, 0.5)


def test_when_the_site_stops_nobody_waits_for_a_refusal() -> None:
    house = full_house()
    came = come(house, GET)
    house.site.stopFactory()
    assert came.said.startswith(b"HTTP/1.1 503 ")
    before = len(came.said)
    wait(house)
    assert len(came.said) == before


def test_who_waits_gets_a_place_that_becomes_free() -> None:
    house = SiteUnderTest(FULL)
    house.echo.holds = True
    worker = house.client(STRANGER)
    house.say(worker, GET)
    house.client(STRANGER)
    came = come(house, GET)
    worker.hang_up()
    wait(house, LOOK_SECONDS)
    assert came.channel is not None
    assert came.channel.crowded == ""


def test_one_that_fails_does_not_keep_the_others_waiting() -> None:
    house = full_house()
    broken, other = come(house, GET), come(house, GET)
    broken.peek = None  # type: ignore[method-assign, assignment]
    wait(house)
    assert other.is_closed
    assert not come(house, GET).is_closed
