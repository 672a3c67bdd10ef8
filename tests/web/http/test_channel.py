"""Slow and greedy clients, by a clock that the tests move."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sbm.runtime.fair_turns import TURN_SECONDS
from sbm.web.http.connection_limits import Limits
from sbm.web.http.crowd import FOUND_SECONDS
from sbm.web.http.held_channel import DROP_SECONDS
from sbm.web.http.origin import Proxies
from sbm.web.http.request import BoundedSite

LIMITS = Limits(
    connections=2,
    left=0,
    header_seconds=20,
    body_seconds=60,
    answer_seconds=100,
    idle_seconds=75,
    linger_seconds=15,
)
FRIEND, STRANGER = "192.0.2.9", "192.0.2.8"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"


class Echo(Resource):
    """Answers with the length of the body; or, while it ``holds``, not yet."""

    isLeaf = True
    holds = False
    takes: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.requests: list[Any] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        self.takes()
        if request.path == b"/later":
            request.setResponseCode(503)
            request.setHeader("Retry-After", "1")
        return NOT_DONE_YET if self.holds else b"%d" % len(request.content.read())


class Transport(StringTransport):
    """Remembers how it was closed, and tells its protocol when that was at once."""

    protocol: Any
    aborted = False
    half_closed = False

    def value(self) -> bytes:
        return bytes(super().value())  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        self.aborted = True
        self.hang_up()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def hang_up(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def is_open(self) -> bool:
        return not (self.aborted or self.half_closed or self.disconnecting)


class SiteUnderTest:
    """A site on a clock, and its clients; those at FRIEND are known."""

    def __init__(self, limits: Limits = LIMITS, *, proxies: Proxies | None = None) -> None:
        self.clock = Clock()
        self.echo = Echo()
        self.site = BoundedSite(
            self.echo, self.clock, limits=limits, proxies=proxies, knows=lambda host: host == FRIEND
        )

    def client(self, host: str = "") -> Transport:
        transport = Transport()  # type: ignore[no-untyped-call]
        address = IPv4Address("TCP", host, 1) if host else None
        transport.protocol = self.site.buildProtocol(address)
        transport.protocol.makeConnection(transport)
        return transport

    def say(self, client: Transport, data: bytes) -> None:
        client.protocol.dataReceived(data)

    def next_turn(self) -> None:
        """What is due at once, but not what comes of it."""
        calls: Any = self.clock.getDelayedCalls()
        due = [one for one in calls if one.getTime() <= self.clock.seconds()]
        for one in due:
            work = one.func
            one.cancel()
            work()

    def pass_time(self, seconds: int) -> None:
        self.clock.pump([1] * seconds)


def told(client: Transport) -> tuple[int, str]:
    """The status and the detail of a refusal."""
    head, _, body = client.value().partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["detail"]


@pytest.fixture
def house() -> SiteUnderTest:
    return SiteUnderTest()


def drip(house: SiteUnderTest, client: Transport, piece: bytes, seconds: int) -> None:
    """Send a piece every second."""
    for _ in range(seconds):
        house.say(client, piece)
        house.clock.advance(1)


# Time


def test_headers_that_drip_in_are_cut_off_in_absolute_time(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, b"GET / HTTP/1.1\r\nX: ")
    drip(house, client, b"x", 19)
    assert client.is_open
    drip(house, client, b"x", 1)
    assert told(client) == (408, "The request took too long to arrive.")
    assert client.half_closed


def test_a_body_that_drips_in_is_cut_off_in_absolute_time(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, POST)
    drip(house, client, b"x", 59)
    assert client.is_open
    drip(house, client, b"x", 1)
    assert told(client)[0] == 408
    assert house.echo.requests == []


def test_a_client_that_does_not_hang_up_when_it_was_refused_is_cut_off(
    house: SiteUnderTest,
) -> None:
    client = house.client()
    house.say(client, b"NONSENSE\r\n")
    house.pass_time(14)
    house.say(client, b"x" * 100_000)
    assert not client.aborted
    house.pass_time(1)
    assert client.aborted


def test_a_connection_that_says_nothing_is_closed(house: SiteUnderTest) -> None:
    client = house.client()
    house.pass_time(19)
    assert client.is_open
    house.pass_time(1)
    assert client.disconnecting
    assert client.value() == b""
    house.pass_time(75)
    assert client.aborted


def test_between_two_requests_a_connection_may_rest_but_not_for_ever(house: SiteUnderTest) -> None:
    client = house.client()
    for _ in range(2):
        house.say(client, GET)
        house.pass_time(74)
    assert client.value().count(b" 200 ") == 2
    assert client.is_open
    house.pass_time(1)
    assert client.disconnecting


def test_an_answer_may_take_its_time_and_no_more(house: SiteUnderTest) -> None:
    house.echo.holds = True
    client = house.client()
    house.say(client, GET)
    house.pass_time(99)
    assert client.is_open
    house.pass_time(1)
    assert client.aborted


def test_what_is_done_in_time_leaves_no_clock_ticking(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, GET)
    client.hang_up()
    house.clock.advance(0)
    assert house.clock.getDelayedCalls() == []


# Connections


def test_where_there_are_too_many_the_one_that_waits_longest_makes_room(
    house: SiteUnderTest,
) -> None:
    first = house.client()
    house.clock.advance(1)
    second = house.client()
    third = house.client()
    assert (first.aborted, second.aborted) == (True, False)
    house.say(third, GET)
    assert b" 200 " in third.value()


def test_a_connection_that_rests_makes_room_before_one_that_sends(house: SiteUnderTest) -> None:
    sending = house.client()
    house.say(sending, POST)
    house.clock.advance(1)
    resting = house.client()
    house.clock.advance(1)
    house.client()
    assert (resting.aborted, sending.aborted) == (True, False)


def test_where_all_are_being_answered_another_is_told_to_come_again(house: SiteUnderTest) -> None:
    house.echo.holds = True
    working = [house.client(), house.client()]
    for client in working:
        house.say(client, GET)
    late = house.client()
    house.say(late, POST)
    house.say(late, b"x" * 100)  # it is read, so that the answer is not lost
    assert told(late) == (503, "Too many connections. Try again later.")
    assert late.half_closed
    assert not late.disconnecting
    working[0].hang_up()
    house.echo.holds = False
    another = house.client()
    house.say(another, GET)
    assert b" 200 " in another.value()


@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/readyz?x=1"])
def test_where_all_are_being_answered_the_probes_are_too(house: SiteUnderTest, path: bytes) -> None:
    house.echo.holds = True
    for client in (house.client(), house.client()):
        house.say(client, GET)
    house.echo.holds = False
    probe = house.client()
    house.say(probe, GET.replace(b"/ ", path + b" "))
    assert b" 200 " in probe.value()
    assert b"Connection: close" in probe.value()


def test_a_spare_connection_that_says_nothing_is_soon_closed(house: SiteUnderTest) -> None:
    house.echo.holds = True
    for client in (house.client(), house.client()):
        house.say(client, GET)
    silent, slow = house.client(), house.client()
    house.say(slow, b"GET")
    house.pass_time(5)
    assert silent.disconnecting
    assert told(slow) == (408, "The request took too long to arrive.")


def test_the_spare_connections_make_room_for_each_other() -> None:
    house = SiteUnderTest(evolve(LIMITS, spare=2))
    house.echo.holds = True
    for client in (house.client(), house.client()):
        house.say(client, GET)
    told_already = house.client()
    house.say(told_already, GET)
    house.clock.advance(1)
    silent, late = house.client(), house.client()
    # Whoever has an answer goes first: the others may have sent what was not read yet.
    assert (told_already.aborted, silent.aborted) == (True, False)
    probe = GET.replace(b"/ ", b"/livez ")
    house.say(late, probe)
    house.clock.advance(1)
    house.say(house.client(), probe)
    assert silent.aborted
    assert told(house.client()) == (503, "Too many connections. Try again later.")


def test_a_new_connection_does_not_make_room_for_the_next(house: SiteUnderTest) -> None:
    resting = house.client()
    house.say(resting, GET)
    house.clock.advance(1)
    late = house.client()
    another = house.client()
    assert (resting.aborted, late.aborted) == (True, False)
    for client in (late, another):
        house.say(client, GET)
        assert b" 200 " in client.value()


def test_a_refused_client_that_sends_on_makes_room_before_others(house: SiteUnderTest) -> None:
    resting = house.client()
    house.say(resting, GET)
    house.clock.advance(1)
    refused = house.client()
    house.say(refused, b"NONSENSE\r\n\r\n")
    house.client()
    assert (resting.aborted, refused.aborted) == (False, True)


def test_one_address_has_a_part_of_the_connections() -> None:
    house = SiteUnderTest(evolve(LIMITS, connections=4, of_address=2))
    house.echo.holds = True
    busy = [house.client("192.0.2.1"), house.client("::ffff:192.0.2.1")]
    for client in busy:
        house.say(client, GET)
    third = house.client("192.0.2.1")
    house.say(third, GET)
    assert told(third) == (503, "Too many connections. Try again later.")
    house.echo.holds = False
    other = house.client("192.0.2.2")
    house.say(other, GET)
    assert b" 200 " in other.value()


def test_an_address_closes_its_own_connections_first() -> None:
    house = SiteUnderTest(evolve(LIMITS, connections=4, of_address=2))
    others = house.client("192.0.2.2")
    resting = [house.client("2001:db8::1")]
    house.clock.advance(1)
    resting.append(house.client("2001:db8::2"))
    house.client("2001:db8::3")
    assert [client.aborted for client in (others, *resting)] == [False, True, False]


def test_the_connections_of_a_trusted_proxy_are_those_of_many_people() -> None:
    house = SiteUnderTest(
        evolve(LIMITS, connections=4, of_address=1), proxies=Proxies([ip_network("192.0.2.0/24")])
    )
    clients = [house.client("192.0.2.1") for _ in range(3)]
    assert [client.aborted for client in clients] == [False] * 3


def test_a_client_that_does_not_read_makes_room(house: SiteUnderTest) -> None:
    house.echo.holds = True
    working = [house.client(), house.client()]
    for client in working:
        house.say(client, GET)
    house.echo.requests[0].write(b"begun")
    house.clock.advance(1)
    house.client()
    assert [client.aborted for client in working] == [True, False]


# Those who are told to come again later


LATER = b"GET /later HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(("host", "seconds"), [(STRANGER, 1.0), ("", 0.0)])
def test_who_is_told_to_wait_is_not_read_for_a_second(
    house: SiteUnderTest, host: str, seconds: float, at_once: bool
) -> None:
    """Behind a trusted proxy, somebody else may be next."""
    client = house.client(host)
    house.say(client, LATER + GET if at_once else LATER)
    house.next_turn()
    if seconds:
        assert client.producerState == "paused"
        house.clock.advance(seconds - 0.1)
        assert client.producerState == "paused"
        house.clock.advance(0.1)
    assert client.producerState == "producing"
    if not at_once:
        house.say(client, GET)
    assert client.value().count(b" 200 ") == 1


def test_who_is_told_to_wait_makes_room_first(house: SiteUnderTest) -> None:
    patient = house.client(FRIEND)
    house.say(patient, GET)
    house.clock.advance(60)
    told_to_wait = house.client(FRIEND)
    house.say(told_to_wait, LATER)
    house.client(STRANGER)
    assert [patient.aborted, told_to_wait.aborted] == [False, True]


# Turns


def busy(house: SiteUnderTest, count: int, host: str = STRANGER) -> list[Transport]:
    """So many clients, each of whose requests takes the time of a turn."""

    def take() -> None:
        house.clock.rightNow += TURN_SECONDS

    house.echo.takes = take
    clients = [house.client(host) for _ in range(count)]
    for client in clients:
        house.say(client, GET)
    return clients


def answered(*clients: Transport) -> list[bool]:
    return [bool(client.value()) for client in clients]


@pytest.fixture
def large_house() -> SiteUnderTest:
    return SiteUnderTest(evolve(LIMITS, connections=10))


def test_what_there_is_no_time_for_is_read_in_the_next_turns(large_house: SiteUnderTest) -> None:
    clients = busy(large_house, 3)
    assert answered(*clients) == [True, False, False]
    assert [client.producerState for client in clients] == ["producing", "paused", "paused"]
    large_house.next_turn()
    assert answered(*clients) == [True, True, False]
    large_house.next_turn()
    assert answered(*clients) == [True, True, True]
    assert {client.producerState for client in clients} == {"producing"}


def test_a_known_client_does_not_wait_for_strangers(large_house: SiteUnderTest) -> None:
    busy(large_house, 3)
    friend = large_house.client(FRIEND)
    large_house.say(friend, GET)
    assert answered(friend) == [True]


def test_each_address_has_its_turn(large_house: SiteUnderTest) -> None:
    many = busy(large_house, 4)
    (one,) = busy(large_house, 1, "192.0.2.7")
    for _ in range(2):
        large_house.next_turn()
    assert answered(*many, one) == [True, True, False, False, True]


def test_a_client_that_hangs_up_before_its_turn_is_not_read(large_house: SiteUnderTest) -> None:
    _, late = busy(large_house, 2)
    late.hang_up()
    large_house.next_turn()
    assert len(large_house.echo.requests) == 1


def test_what_waits_for_its_turn_makes_no_room_for_strangers(house: SiteUnderTest) -> None:
    house.echo.holds = True
    working, late = busy(house, 2)
    house.clock.rightNow += LIMITS.new_seconds
    another = house.client(STRANGER)
    house.say(another, GET)
    assert [working.aborted, late.aborted] == [False, False]


def test_a_stranger_that_is_not_read_yet_makes_room_for_a_known_client(
    house: SiteUnderTest,
) -> None:
    house.echo.holds = True
    _, late = busy(house, 2)
    assert [late.aborted] == [False]
    friend = house.client(FRIEND)
    assert late.aborted
    house.echo.holds = False
    house.say(friend, GET)
    assert b" 200 " in friend.value()


def test_some_connections_are_left_to_known_clients() -> None:
    house = SiteUnderTest(evolve(LIMITS, left=1))
    house.echo.holds = True
    for client in (house.client(STRANGER), house.client(STRANGER)):
        house.say(client, GET)
    stranger, friend = house.client(STRANGER), house.client(FRIEND)
    for client in (stranger, friend):
        house.say(client, GET)
    assert told(stranger)[0] == 503
    assert len(house.echo.requests) == 3
    assert friend.is_open


def test_a_known_client_that_rests_makes_room_after_strangers(house: SiteUnderTest) -> None:
    friend = house.client(FRIEND)
    house.say(friend, GET)
    house.clock.advance(1)
    stranger = house.client(STRANGER)
    house.say(stranger, POST)
    house.clock.advance(1)
    house.client(STRANGER)
    assert (friend.aborted, stranger.aborted) == (False, True)


@pytest.mark.parametrize(("rests", "is_closed"), [(9, False), (10, True)])
def test_a_known_client_keeps_a_connection_that_it_uses(
    house: SiteUnderTest, rests: int, is_closed: bool
) -> None:
    """Strangers close it only if it has rested for ten seconds."""
    house.echo.holds = True
    worker = house.client(STRANGER)
    house.say(worker, GET)
    house.echo.holds = False
    friend = house.client(FRIEND)
    house.say(friend, GET)
    house.clock.advance(rests)
    house.client(STRANGER)
    assert friend.aborted is is_closed


@pytest.mark.parametrize(
    ("said", "seconds", "is_closed"),
    [(GET, 0.9, False), (GET, 1, True), (POST, 0.9, False), (POST, 1, True), (b"?\r\n", 0, True)],
)
def test_nobody_is_closed_within_the_first_second(
    house: SiteUnderTest, said: bytes, seconds: float, is_closed: bool
) -> None:
    """It is that of each phase, but a client whose request was refused has it no more."""
    one, _ = (house.client(STRANGER) for _ in range(2))
    house.clock.advance(5)
    house.say(one, said)
    house.echo.holds = True
    house.say(house.client(STRANGER), GET)  # closes the other one, which has said nothing
    house.clock.advance(seconds)
    house.client(FRIEND)
    assert one.aborted is is_closed


@pytest.mark.parametrize("hosts", [[STRANGER], ["2001:db8::1", "2001:db8::2"]])
def test_for_an_address_few_connections_of_others_are_closed(hosts: list[str]) -> None:
    """Ten in five seconds: those who were closed come again at once, perhaps."""
    house = SiteUnderTest(evolve(LIMITS, connections=2, spare=0))
    came = [house.client("192.0.2.77") for _ in range(2)]
    for window in (1, 2):
        for number in range(14):
            house.clock.advance(FOUND_SECONDS)
            for one in came:
                one.protocol.since = -1000.0
            came.append(house.client(hosts[number % len(hosts)]))
        assert sum(one.aborted for one in came) == 10 * window
        house.clock.advance(5)


def test_a_known_client_may_close_as_many_of_strangers_as_it_needs() -> None:
    house = SiteUnderTest(evolve(LIMITS, connections=20))
    strangers = [house.client(STRANGER) for _ in range(20)]
    house.clock.advance(5)
    for _ in range(15):
        house.client(FRIEND)
    assert sum(one.aborted for one in strangers) == 15


def test_a_connection_that_has_been_used_meanwhile_is_not_closed() -> None:
    """Which ones may be closed is looked for once in a while."""
    house = SiteUnderTest(evolve(LIMITS, connections=3))
    first, second, third = (house.client(STRANGER) for _ in range(3))
    house.clock.advance(5)
    second.protocol.since, third.protocol.since = 1.0, 2.0
    house.say(house.client(STRANGER), POST)  # closes the first one
    assert first.aborted
    house.say(second, POST)
    house.client(STRANGER)
    assert not second.aborted


def test_when_the_site_stops_idle_connections_are_closed_and_others_answered(
    house: SiteUnderTest,
) -> None:
    house.echo.holds = True
    idle, working = house.client(), house.client()
    house.say(working, GET)
    house.site.startFactory()
    house.site.stopFactory()
    house.next_turn()
    assert idle.disconnecting
    assert working.is_open
    house.echo.requests[0].write(b"done")
    house.echo.requests[0].finish()
    assert b"done" in working.value()
    assert working.disconnecting


@pytest.mark.parametrize("before", [0, 2, len(GET) - 1])
def test_a_request_that_came_as_the_site_stopped_is_answered(
    house: SiteUnderTest, before: int
) -> None:
    """Its bytes were there already, but nobody had read all of them yet."""
    client = house.client()
    house.say(client, GET[:before])
    house.site.startFactory()
    house.site.stopFactory()
    house.say(client, GET[before:])
    house.next_turn()
    assert b" 200 " in client.value()
    assert b"\r\nConnection: close\r\n" in client.value()
    assert client.disconnecting


# Many requests at once


def test_of_a_flood_of_requests_one_is_answered_in_a_turn(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, GET * 50)
    assert client.value().count(b" 200 ") == 1
    house.next_turn()
    assert client.value().count(b" 200 ") == 2
    house.pass_time(50)
    assert client.value().count(b" 200 ") == 50
    assert client.is_open


def test_the_rest_of_a_flood_is_not_read_before_its_turn(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, GET * 2)
    assert client.producerState == "paused"
    house.clock.advance(0)
    assert client.producerState == "producing"


def test_a_client_that_takes_no_answer_gets_no_more(house: SiteUnderTest) -> None:
    client = house.client()
    house.echo.takes = client.protocol.pauseProducing  # the transport is full
    house.say(client, GET * 3)
    house.pass_time(2)
    assert client.value().count(b" 200 ") == 1
    assert client.producerState == "paused"
    for answers in (2, 3):
        client.protocol.resumeProducing()
        house.clock.advance(0)
        assert client.value().count(b" 200 ") == answers
    client.protocol.resumeProducing()
    assert client.producerState == "producing"


def test_a_client_that_takes_no_answer_is_closed_in_time(house: SiteUnderTest) -> None:
    client = house.client()
    house.echo.takes = client.protocol.pauseProducing
    house.say(client, GET * 2)
    house.pass_time(76)
    assert not client.is_open


def test_bodies_and_requests_that_come_in_one_piece_are_told_apart(house: SiteUnderTest) -> None:
    client = house.client()
    post = POST + b"x" * 100
    house.say(client, post + GET + post)
    house.pass_time(3)
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in client.value().split(b"HTTP/1.1 200")[1:]]
    assert bodies == [b"100", b"0", b"100"]
    assert len(house.echo.requests) == 3


# Clients that send no more, and still read


def test_a_client_that_sends_no_more_gets_its_answer(house: SiteUnderTest) -> None:
    house.echo.holds = True
    client = house.client()
    house.say(client, GET)
    client.protocol.readConnectionLost()
    client.protocol.readConnectionLost()  # reading was resumed meanwhile
    assert client.is_open
    house.echo.requests[0].write(b"done")
    house.echo.requests[0].finish()
    assert b"done" in client.value()
    assert client.disconnecting


def test_all_that_it_has_asked_for_is_answered(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, GET * 3)
    client.protocol.readConnectionLost()
    house.pass_time(3)
    assert client.value().count(b" 200 ") == 3
    assert client.disconnecting


@pytest.mark.parametrize("sent", [GET[:10], GET[:-1], POST, POST + b"x" * 99])
def test_a_client_that_sends_no_more_within_its_request_is_told_so(
    house: SiteUnderTest, sent: bytes
) -> None:
    client = house.client()
    house.say(client, sent)
    client.protocol.readConnectionLost()
    assert told(client) == (400, "The request ended before it was complete.")
    assert client.disconnecting


def test_half_a_request_behind_a_whole_one_is_refused_after_it(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, GET + GET[:10])
    client.protocol.readConnectionLost()
    house.pass_time(1)
    assert [client.value().count(b" %d " % status) for status in (200, 400)] == [1, 1]
    assert client.disconnecting


@pytest.mark.parametrize("before", [b"", GET])
def test_a_connection_that_rests_is_closed_when_its_client_sends_no_more(
    house: SiteUnderTest, before: bytes
) -> None:
    client = house.client()
    house.say(client, before)
    client.protocol.readConnectionLost()
    assert client.disconnecting


def test_a_refused_client_that_sends_no_more_is_not_waited_for(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, b"NONSENSE\r\n")
    assert (client.half_closed, client.disconnecting) == (True, False)
    client.protocol.readConnectionLost()
    assert client.disconnecting


def test_a_client_that_sends_no_more_makes_room_where_there_are_too_many(
    house: SiteUnderTest,
) -> None:
    house.echo.holds = True
    clients = [house.client(), house.client()]
    for client in clients:
        house.say(client, GET)
    clients[1].protocol.readConnectionLost()
    house.client()
    assert [client.aborted for client in clients] == [False, True]


# The rhythm of reading


@pytest.mark.parametrize("others", [0, 4])
def test_the_more_send_on_after_a_refusal_the_slower_they_are_read(others: int) -> None:
    """Those that send nothing do not count."""
    house = SiteUnderTest(evolve(LIMITS, connections=9))
    *senders, one, silent = (house.client() for _ in range(others + 2))
    for client in (*senders, one, silent):
        house.say(client, b"NONSENSE\r\n")
    for client in (*senders, one):
        house.say(client, b"more")
    assert one.producerState == "paused"
    house.clock.advance((1 + others) * DROP_SECONDS - 0.0001)
    assert one.producerState == "paused"
    house.clock.advance(0.0001)
    assert one.producerState == "producing"
    house.say(one, b"more")
    house.clock.advance(DROP_SECONDS)
    assert one.producerState == "producing"
    house.say(one, b"more")
    one.hang_up()
    house.clock.advance(DROP_SECONDS)
    house.say(silent, b"more")
    house.clock.advance(DROP_SECONDS)
    assert silent.producerState == "producing"


def test_what_holds_a_connection_back_is_not_undone_by_its_sending(house: SiteUnderTest) -> None:
    client = house.client()
    house.say(client, POST)
    client.protocol.hold("disk")
    client.protocol.pauseProducing()
    client.protocol.resumeProducing()  # what was sent has gone out
    assert client.producerState == "paused"
    client.protocol.release("disk")
    assert client.producerState == "producing"
