"""Who comes when all connections are busy."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address

from sbm.runtime.listening import BriefTransport
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
def test_others_are_told_so(came: bytes) -> None:
    told = come(full_house(), came)
    assert told.said.startswith(b"HTTP/1.1 503 ")
    assert told.is_closed
    assert told.channel is None


def test_there_is_an_end_to_the_room_for_probes() -> None:
    house = full_house()
    probes = [come(house, b"GET /livez HTTP/1.1") for _ in range(3)]
    assert [one.is_closed for one in probes] == [False, True, True]
