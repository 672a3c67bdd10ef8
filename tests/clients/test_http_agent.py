"""Our agent beside Twisted's: the same answers, read from the same bytes."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from treq.client import HTTPClient
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import directlyProvides, implementer
from zope.interface.verify import verifyObject

from sbm.clients import http_connection
from sbm.clients.http_agent import HttpAgent, PreparedBody, PreparedHeaders
from sbm.clients.http_connection import HttpAnswer, HttpConnection, NotBegun
from sbm.clients.outcomes import AnswerTooLong
from tests.clients.certificate import self_signed
from tests.clients.far import Far, Line, answer, reactor

# Two thousand answers in all; more of them in the long form.
MANY = settings(max_examples=max(500, settings().max_examples))


@frozen(kw_only=True)
class Read:
    """What a client made of the bytes of an answer."""

    status: int
    phrase: bytes
    headers: frozenset[tuple[bytes, tuple[bytes, ...]]]
    body: bytes
    is_kept: bool = False


class Wire(StringTransport):
    """A transport in memory, which tells its protocol when it is closed."""

    protocol: Any = None
    is_closed = False

    def loseConnection(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.protocol.connectionLost(Failure(ConnectionDone()))

    abortConnection = loseConnection


def deliver(protocol: Any, wire: Wire, parts: list[bytes]) -> None:
    """The parts of an answer, as they come, and the end of the connection."""
    for part in parts:
        if part and not wire.is_closed:
            protocol.dataReceived(part)


def asked(kept: list[HttpConnection] | None = None) -> tuple[HttpConnection, Wire, list[Any]]:
    """A connection in memory with a request, and where the answer or the failure will be."""
    wire: Any = Wire()  # type: ignore[no-untyped-call]
    idle: list[HttpConnection] = [] if kept is None else kept
    connection: Any = HttpConnection(idle=idle.append, gone=lambda _: None)
    wire.protocol = connection
    connection.makeConnection(wire)
    got: list[Any] = []
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    connection.request(request, most_bytes=4000).addBoth(got.append)
    return connection, wire, got


def ours(parts: list[bytes], *, closes: bool) -> Read | None:
    """What our connection reads; None if it is no complete answer."""
    kept: list[HttpConnection] = []
    connection, wire, got = asked(kept)
    deliver(connection, wire, parts)
    is_kept = bool(kept) and not wire.is_closed
    if closes:
        wire.loseConnection()
    if not got or isinstance(got[0], Failure):
        return None
    (response,) = got
    assert isinstance(response, HttpAnswer)
    assert verifyObject(IResponse, response)
    return Read(
        status=response.code,
        phrase=response.phrase,
        headers=all_of(response.headers),
        body=response.body,
        is_kept=is_kept,
    )


class Endpoint:
    """Connects to memory."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def endpointForURI(self, uri: Any) -> Any:
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        self.wire.protocol = factory.buildProtocol(None)
        self.wire.protocol.makeConnection(self.wire)
        return succeed(self.wire.protocol)


class Reader(Protocol):
    """Reads a body."""

    def __init__(self) -> None:
        self.body = b""
        self.reason: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.body += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.reason = reason


def twisteds(parts: list[bytes], *, closes: bool) -> Read | None:
    """What Twisted's agent reads; None if it is no complete answer."""
    wire: Any = Wire()  # type: ignore[no-untyped-call]
    endpoint: Any = Endpoint(wire)
    pool = HTTPConnectionPool(reactor)
    agent = Agent.usingEndpointFactory(reactor, endpoint, pool)
    got: list[Any] = []
    reader = Reader()
    request = agent.request(b"GET", b"http://x/")

    def read(response: Any) -> None:
        got.append(response)
        response.deliverBody(reader)

    request.addCallbacks(read, lambda failure: None)
    deliver(wire.protocol, wire, parts)
    kept: Any = pool
    is_kept = bool(kept._connections) and not wire.is_closed
    if closes:
        wire.loseConnection()
    pool.closeCachedConnections()
    if not got or reader.reason is None or not reader.reason.check(ResponseDone):
        return None
    response = got[0]
    return Read(
        status=response.code,
        phrase=response.phrase,
        headers=all_of(response.headers),
        body=reader.body,
        is_kept=is_kept,
    )


def all_of(headers: Headers) -> frozenset[tuple[bytes, tuple[bytes, ...]]]:
    """The headers that do not belong to the connection itself, which Twisted keeps apart."""
    return frozenset(
        (name.lower(), tuple(values))
        for name, values in headers.getAllRawHeaders()
        if name.lower() not in (b"connection", b"content-length", b"transfer-encoding")
    )


NAMES = st.from_regex(rb"\AX-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,8}\Z")
VALUES = st.from_regex(rb"\A(?:[!-~](?:[ -~]{0,12}[!-~])?)?\Z")
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=4)
ALIVE = [b"close", b"keep-alive"]
BODIES = st.binary(max_size=60)


def written(lines: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % line for line in lines)


@st.composite
def framed(draw: Any) -> tuple[bytes, bytes]:
    """A body with its framing: the headers for it, and the bytes."""
    body = draw(BODIES)
    if draw(st.booleans()):
        return b"Content-Length: %d\r\n" % len(body), body
    chunks = b""
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from([b"", b";a=b", b";a"]))
        chunks += b"%x%b\r\n%b\r\n" % (size, extension, body[:size])
        body = body[size:]
    trailers = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n", b"Retry-After: 7\r\n"]))
    return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n" + trailers + b"\r\n"


@st.composite
def answers(draw: Any) -> bytes:
    """A whole answer, well-formed."""
    interim = b"".join(
        b"HTTP/1.1 %d Wait\r\n%b\r\n" % (status, written(draw(LINES)))
        for status in draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2))
    )
    status = draw(st.sampled_from([200, 201, 202, 204, 301, 304, 400, 404, 429, 500, 503]))
    framing, body = draw(framed())
    if status in (204, 304):
        framing, body = b"", b""
    connection = draw(
        st.sampled_from([b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n"])
    )
    phrase = draw(st.from_regex(rb"\A[A-Za-z](?:[A-Za-z ]{0,8}[a-z])?\Z"))
    head = b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, written(draw(LINES)))
    whole: bytes = interim + head + connection + framing + b"\r\n" + body
    return whole


def in_parts(data: Any, whole: bytes) -> list[bytes]:
    """The bytes as they may come over a network."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    edges = [0, *cuts, len(whole)]
    return [whole[a:b] for a, b in pairwise(edges) if a < b]


@MANY
@given(answers(), st.data())
def test_a_whole_answer_is_read_as_twisted_reads_it(whole: bytes, data: Any) -> None:
    parts = in_parts(data, whole)
    theirs = twisteds(parts, closes=True)
    assert theirs is not None
    assert ours(parts, closes=True) == theirs


@MANY
@given(answers(), st.data())
def test_a_broken_answer_is_no_answer(whole: bytes, data: Any) -> None:
    """Neither is one of a body whose end is the end of the connection."""
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    parts = in_parts(data, cut)
    # An interim answer without a final one may be whole, and a head too, if nothing follows.
    assert ours(parts, closes=True) == twisteds(parts, closes=True)


@MANY
@given(answers(), st.binary(min_size=1, max_size=20), st.data())
def test_nothing_that_follows_an_answer_is_taken_for_another(
    whole: bytes, surplus: bytes, data: Any
) -> None:
    parts = in_parts(data, whole + surplus)
    read, theirs = ours(parts, closes=False), twisteds(parts, closes=False)
    assert read is not None
    assert theirs is not None
    # It does not matter what was kept until the surplus came, but that it is not kept after that.
    assert evolve(read, is_kept=False) == evolve(theirs, is_kept=False)
    assert not read.is_kept or surplus.strip(b"\r\n") == b""


@MANY
@given(answers(), st.data())
def test_what_is_garbled_is_no_answer_or_the_same_one(whole: bytes, data: Any) -> None:
    """Llhttp refuses more than Twisted does, and never the other way round."""
    at = data.draw(st.integers(0, len(whole) - 1))
    instead = data.draw(st.binary(max_size=3))
    garbled = whole[:at] + instead + whole[at + data.draw(st.integers(0, 3)) :]
    parts = in_parts(data, garbled)
    read = ours(parts, closes=True)
    if read is not None:
        theirs = twisteds(parts, closes=True)
        assert theirs is not None
        assert (read.status, read.body) == (theirs.status, theirs.body)


# What the limits cut


def lost(parts: list[bytes]) -> Any:
    """Why these parts are no answer."""
    connection, wire, got = asked()
    deliver(connection, wire, parts)
    assert wire.is_closed
    return got[0].value


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "endless",
    [
        [b"HTTP/1.1 200 OK\r\n", b"X-Line: a\r\n"],
        [b"HTTP/1.1 200 OK\r\nX-Line: ", b"a" * 99],
        [b"HTTP/1.1 200 ", b"OK" * 99],
        [b"", b"HTTP/1.1 100 Continue\r\n\r\n"],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;" + b"a" * 99 + b"\r\na\r\n",
        ],
        [CHUNKED + b"0\r\n", b"X-Trailer: a\r\n"],
        [CHUNKED, b"2\r\n{}\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 99],
        [b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 201, b"b"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"a" * 99],
    ],
)
def test_no_part_of_an_answer_may_be_endless(
    endless: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "MAX_HEAD_BYTES", 2000)
    first, rest = endless
    assert isinstance(lost([first, *[rest] * 10_000]), AnswerTooLong)


def test_an_interim_answer_is_no_news_however_many_there_are() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert ours([interim * 20, answer(200, b"{}")], closes=False) is not None
    error = lost([interim * 21 + answer(200, b"{}")])
    assert (type(error), error.kind) == (AnswerTooLong, "interim")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n2000\r\n"]
)
def test_the_body_of_an_error_is_cut_because_its_status_counts(framing: bytes) -> None:
    connection, wire, got = asked()
    deliver(connection, wire, [b"HTTP/1.1 503 Busy\r\n" + framing, *[b"<html>"] * 1000])
    assert (got[0].code, len(got[0].body)) == (503, 4000)
    assert wire.is_closed


def test_an_upgrade_that_nobody_asked_for_is_no_answer() -> None:
    upgrade = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert ours([upgrade], closes=True) is None


# The pool


@pytest_twisted.async_yield_fixture
async def agent() -> AsyncIterator[HttpAgent]:
    agent = HttpAgent(reactor=reactor, connections=2, keep_alive=60)
    yield agent
    await agent.close()


def url(far: Far, path: str = "/a") -> bytes:
    return f"http://127.0.0.1:{far.port.getHost().port}{path}".encode()


@ensureDeferred
async def test_treq_itself_speaks_through_the_agent(far: Far, agent: HttpAgent) -> None:
    assert verifyObject(IAgent, agent)
    far.says(answer(201, b'{"a": 1}', Content_Type="application/json"))
    client = HTTPClient(agent)
    response = await client.post(url(far).decode(), json={"ü": 1}, params={"b": "c d"})
    assert (response.code, await response.json()) == (201, {"a": 1})
    assert response.headers.getRawHeaders("content-type") == ["application/json"]
    (request,) = far.requests
    assert (request.method, request.target) == ("POST", "/a?b=c+d")
    assert request.body == b'{"\\u00fc":1}'


@implementer(IBodyProducer)
class Failing:
    """A body that breaks off."""

    length = 10

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(b"half")
        failed: Deferred[None] = Deferred()
        reactor.callLater(0, failed.errback, OSError("the disk is gone"))
        return failed

    def stopProducing(self) -> None:
        """Do nothing."""

    pauseProducing = resumeProducing = stopProducing


@ensureDeferred
async def test_a_body_is_taken_whole_before_a_byte_is_written(far: Far, agent: HttpAgent) -> None:
    far.says(answer(200, b"{}"))
    whole: Any = FileBodyProducer(io.BytesIO(b"x" * 200_000))
    await agent.request(b"POST", url(far), None, whole)
    assert far.only(lambda request: len(request.body)) == 200_000
    with pytest.raises(NotBegun, match="the disk is gone"):
        await agent.request(b"POST", url(far), None, Failing())
    assert len(far.requests) == 1


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        (b"GET", b"http://x/a b"),
        (b"GET", b"http://x/a\r\nX: y"),
        (b"GET", b"http://x/\xc3\xbc"),
        (b"GET", b"http://x/a#b"),
        (b"GET", b"http://x\r\nX: y/"),
        (b"GET", b"http://u@x/"),
        (b"GET", b"http://x?a=b"),
        (b"GET", b"ftp://x/"),
        (b"GET", b"http:///a"),
        (b"GET", b""),
        (b"GET /", b"http://x/"),
        (b"G\r\n", b"http://x/"),
    ],
)
def test_what_is_no_request_is_refused(agent: HttpAgent, method: bytes, uri: bytes) -> None:
    with pytest.raises(ValueError, match=r"no request|no address"):
        agent.request(method, uri)


@ensureDeferred
async def test_no_header_becomes_two(far: Far, agent: HttpAgent) -> None:
    far.says(answer(200, b"{}"))
    for headers in (Headers, PreparedHeaders):
        given = headers({"X-A": ["b\r\nX-B: c"], "Content-Length": ["7"], "Host": ["elsewhere"]})
        await agent.request(b"GET", url(far), given)
    for request in far.requests:
        assert request.headers == {
            "host": url(far, "").decode().removeprefix("http://"),
            "x-a": "b X-B: c",
        }


@ensureDeferred
async def test_a_post_without_a_body_says_so_and_a_head_has_none(
    far: Far, agent: HttpAgent
) -> None:
    far.says(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
    response: Any = await agent.request(b"HEAD", url(far))
    assert response.body == b""
    far.says(answer(200, b"{}"))
    await agent.request(b"POST", url(far))
    assert [request.headers.get("content-length") for request in far.requests] == [None, "0"]


@ensureDeferred
async def test_an_idle_connection_is_closed_in_time(far: Far) -> None:
    agent = HttpAgent(reactor=reactor, connections=2, keep_alive=0.2)
    far.says(answer(200, b"{}"))
    await agent.request(b"GET", url(far))
    (line,) = far.lines
    assert await line.closed is ConnectionDone


@ensureDeferred
async def test_no_more_connections_are_kept_than_asked(far: Far, agent: HttpAgent) -> None:
    waiting: list[Line] = []
    far.reply = waiting.append
    requests = [agent.request(b"GET", url(far)) for _ in range(3)]
    while len(waiting) < 3:
        await soon()
    for line in waiting:
        line.say(answer(200, b"{}"))
    for request in requests:
        await request
    while not any(line.closed.called for line in waiting):
        await soon()
    assert sum(line.closed.called for line in waiting) == 1


async def soon() -> None:
    """After what has come was read."""
    turn: Deferred[None] = Deferred()
    reactor.callLater(0.01, turn.callback, None)
    await turn


@pytest.mark.parametrize("unasked", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"?"])
@ensureDeferred
async def test_a_connection_on_which_the_peer_closes_or_speaks_unasked_is_given_up(
    far: Far, agent: HttpAgent, unasked: bytes
) -> None:
    far.says(answer(200, b"{}"))
    await agent.request(b"GET", url(far))
    (line,) = far.lines
    if unasked:
        line.say(unasked)
    else:
        line.transport.loseConnection()
    await line.closed
    await soon()
    await agent.request(b"GET", url(far))
    assert len(far.lines) == 2


@ensureDeferred
async def test_a_request_does_not_use_a_connection_that_is_being_given_up(
    far: Far, agent: HttpAgent
) -> None:
    """The reactor ends it in its next iteration, and has not done so yet."""
    far.says(answer(200, b"{}"))
    await agent.request(b"GET", url(far))
    (destination,) = agent._destinations.values()
    (connection,) = destination.idle
    connection.dataReceived(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    await agent.request(b"GET", url(far))
    closed = agent.close()
    await agent.request(b"GET", url(far))
    await closed
    assert len(far.lines) == 3


def test_closing_does_not_wait_for_a_peer_over_tls() -> None:
    """TLS would wait for the peer's own alert."""
    wire: Any = WaitingWire()  # type: ignore[no-untyped-call]
    directlyProvides(wire, ISSLTransport)
    connection: Any = HttpConnection(idle=lambda _: None, gone=lambda _: None)
    wire.protocol = connection
    connection.makeConnection(wire)
    assert connection.close().called


class WaitingWire(Wire):
    """A transport of TLS whose peer does not answer."""

    def loseConnection(self) -> None:
        """Wait for the peer."""

    def abortConnection(self) -> None:
        super().loseConnection()


@ensureDeferred
async def test_a_request_that_is_not_written_whole_is_the_last_on_its_connection(
    far: Far, agent: HttpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer came before the request was written."""
    made = HttpConnection.connectionMade

    def narrow(connection: Any) -> None:
        made(connection)
        transport = connection.transport
        send = transport.writeSomeData

        def write_a_part(data: bytes) -> int:
            transport.writeSomeData = send
            return int(send(data[:10]))

        transport.writeSomeData = write_a_part

    monkeypatch.setattr(HttpConnection, "connectionMade", narrow)
    far.says(answer(200, b"{}"))
    body = PreparedBody(data=b"x" * 100, begin=lambda: True)
    response: Any = await agent.request(b"POST", url(far), None, body)
    assert response.code == 200
    await far.lines[0].closed
    assert far.only(lambda request: request.body) == b"x" * 100


@ensureDeferred
async def test_a_request_that_cannot_be_written_is_not_begun(
    far: Far, agent: HttpAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was reset, and the reactor has not seen it yet."""
    far.says(answer(200, b"{}"))
    await agent.request(b"GET", url(far))
    (destination,) = agent._destinations.values()
    (connection,) = destination.idle
    transport: Any = connection.transport
    transport.socket.shutdown(1)
    with pytest.raises(NotBegun):
        await agent.request(b"GET", url(far))


@ensureDeferred
async def test_a_cancelled_request_is_over_at_once(far: Far, agent: HttpAgent) -> None:
    asked: Deferred[Line] = Deferred()
    far.reply = asked.callback
    request = agent.request(b"GET", url(far))
    line = await asked
    request.cancel()
    with pytest.raises(ResponseFailed) as failed:
        await request
    assert failed.value.reasons[0].check(CancelledError)
    await line.closed


def test_a_body_without_an_end_of_its_own_is_no_answer() -> None:
    parts = [b"HTTP/1.1 200 OK\r\n\r\n", b"{}"]
    connection, wire, got = asked()
    deliver(connection, wire, parts)
    assert got == []
    wire.loseConnection()
    assert got[0].value.reasons[0].check(PotentialDataLoss)


def test_a_connection_that_ends_before_an_answer_says_so() -> None:
    connection, wire, got = asked()
    wire.loseConnection()
    assert got[0].check(ResponseNeverReceived)
    assert connection.closed.called


@ensureDeferred
async def test_requests_over_tls_are_encrypted_and_answered(far: Far, tmp_path: Path) -> None:
    files = self_signed(tmp_path)
    port = reactor.listenSSL(
        0, far, ssl.DefaultOpenSSLContextFactory(*files), interface="127.0.0.1"
    )
    certificate = ssl.Certificate.loadPEM(Path(files[1]).read_bytes())
    agent = HttpAgent(reactor=reactor, connections=2, keep_alive=60)
    agent._policy = BrowserLikePolicyForHTTPS(trustRoot=certificate)
    far.says(answer(200, b"{}"))
    uri = f"https://127.0.0.1:{port.getHost().port}/a".encode()
    try:
        for _ in range(2):
            body = PreparedBody(data=b"x" * 100_000, begin=lambda: True)
            response: Any = await agent.request(b"POST", uri, None, body)
            assert (response.code, response.body) == (200, b"{}")
        assert [len(request.body) for request in far.requests] == [100_000] * 2
        assert len(far.lines) == 1
    finally:
        await agent.close()
        await port.stopListening()
