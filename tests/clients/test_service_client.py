"""An exchange: whole or not, in time or not, begun or not."""

from __future__ import annotations

import gc
import gzip
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from treq.cookies import IndexableCookieJar
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import LogLevel, globalLogPublisher
from twisted.web.client import BrowserLikePolicyForHTTPS

from sbm.clients.http_agent import HttpAgent
from sbm.clients.http_connection import HttpAnswer, HttpConnection, NotBegun
from sbm.clients.outcomes import AnswerTooLong, HeldBack, OutcomeUnknown, Unavailable
from sbm.clients.prepared_client import PreparedResponse
from sbm.clients.service_client import (
    ONE_BYTES,
    ConnectionDropped,
    HttpResponse,
    ServiceClient,
    TooLong,
)
from sbm.model.durations import RequestTimeout
from sbm.settings.endpoints import ServiceAddress
from tests.clients.certificate import self_signed
from tests.clients.far import Far, Line, ManualReactor, answer, reactor

TIMEOUT = RequestTimeout(timedelta(seconds=30))


def yes() -> bool:
    return True


def under_way(far: Far, begin: Callable[[Line], object]) -> Deferred[Line]:
    """Fires with the line of the first request, after ``begin`` was done on it."""
    asked: Deferred[Line] = Deferred()

    def tell(line: Line) -> None:
        if not asked.called:
            asked.callback(line)

    def reply(line: Line) -> None:
        begin(line)
        # Not before what was said had a chance to arrive.
        reactor.callLater(0, tell, line)

    far.reply = reply
    return asked


@ensureDeferred
async def test_a_request_carries_token_and_json(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b"{}"))
    got = await client.post("a", "b", "", body={"ü": ["☃", None]}, begin=yes)
    (request,) = far.requests
    assert (got.status, got.json()) == (200, {})
    assert (request.method, request.target) == ("POST", "/api/v1/a/b/")
    assert request.headers["authorization"] == "Token the-token"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.body == '{"ü":["☃",null]}'.encode()


@ensureDeferred
async def test_a_lone_surrogate_goes_out_as_its_escape(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b"{}"))
    await client.post("a", body={"to_addr": "\ud800"}, begin=yes)
    assert far.only(lambda request: request.body) == b'{"to_addr":"\\ud800"}'


@pytest.mark.parametrize(
    ("part", "quoted"),
    [
        ("a/b", "a%2Fb"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("%2e%zz", "%252e%25zz"),
        ("a b+c", "a%20b%2Bc"),
        ("Ünï☃", "%C3%9Cn%C3%AF%E2%98%83"),
        ("a\r\nHost: x", "a%0D%0AHost%3A%20x"),
    ],
)
@ensureDeferred
async def test_no_part_of_a_path_becomes_anything_else(
    far: Far, client: ServiceClient, part: str, quoted: str
) -> None:
    far.says(answer(200, b"{}"))
    await client.get("identities", part, "addresses")
    assert far.only(lambda r: r.target) == f"/api/v1/identities/{quoted}/addresses"


@ensureDeferred
async def test_a_connection_is_used_again(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b"{}"))
    for _ in range(3):
        await client.get("a")
    assert (len(far.requests), len(far.lines)) == (3, 1)


@ensureDeferred
async def test_a_stop_that_is_broken_off_says_so_once_and_the_connections_are_closed(
    far: Far, client: ServiceClient
) -> None:
    """After a daemon's grace nobody waits; of each connection Twisted would log that it failed."""
    far.says(answer(200, b"{}"))
    await gatherResults(
        [Deferred.fromCoroutine(client.get(name)) for name in ("one", "two", "three")]
    )
    logged: list[Any] = []
    observer: Any = logged.append
    gc.collect()  # what tests before this one have left says so now
    globalLogPublisher.addObserver(observer)
    try:
        stopped = client.stopService()
        stopped.cancel()
        with pytest.raises(CancelledError):
            await stopped
        del stopped
        assert len(far.lines) == 3
        for line in far.lines:
            assert await line.closed is ConnectionDone
        gc.collect()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [event for event in logged if event["log_level"] >= LogLevel.warn] == []


@ensureDeferred
async def test_stopping_closes_what_is_kept_alive(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b"{}"))
    await client.get("a")
    await client.stopService()
    await far.lines[0].closed


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@ensureDeferred
async def test_redirects_are_not_followed(far: Far, client: ServiceClient, status: int) -> None:
    far.says(answer(status, Location="/api/v1/elsewhere"))
    assert (await client.get("a")).status == status
    assert (await client.post("a", body={}, begin=yes)).status == status
    assert [request.target for request in far.requests] == ["/api/v1/a"] * 2


@ensureDeferred
async def test_cookies_are_not_kept(far: Far, client: ServiceClient) -> None:
    far.says(answer(200, b"{}", Set_Cookie="a=b; Path=/"))
    await client.get("a")
    await client.get("a")
    assert all("cookie" not in request.headers for request in far.requests)


# Deadlines


def asking(client: ServiceClient, method: str) -> Deferred[HttpResponse]:
    if method == "GET":
        return Deferred.fromCoroutine(client.get("a"))
    return Deferred.fromCoroutine(client.post("a", body={}, begin=yes))


METHODS = pytest.mark.parametrize(
    ("method", "failure"), [("GET", Unavailable), ("POST", OutcomeUnknown)]
)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 201 Created\r\n"])
@METHODS
@ensureDeferred
async def test_the_deadline_holds_before_the_headers_and_aborts_the_connection(
    far: Far,
    client: ServiceClient,
    manual: ManualReactor,
    said: bytes,
    method: str,
    failure: type[Exception],
) -> None:
    asked = under_way(far, lambda line: line.say(said))
    done = asking(client, method)
    line = await asked
    manual.clock.advance(TIMEOUT.total_seconds() - 0.1)
    assert not done.called
    manual.clock.advance(0.2)
    with pytest.raises(failure, match="TimeoutError"):
        await done
    assert (await line.closed) is ConnectionLost, "closed politely instead of aborted"
    assert len(far.requests) == 1


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Deferred[None]:
    """Fires when a part of the answer was read."""
    reading, read = Deferred[None](), HttpConnection.dataReceived

    def tell_and_read(connection: HttpConnection, data: bytes) -> None:
        read(connection, data)
        if not reading.called:
            reactor.callLater(0, reading.callback, None)

    monkeypatch.setattr(HttpConnection, "dataReceived", tell_and_read)
    return reading


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Length: 10\r\n\r\n",
        b"Content-Length: 10\r\n\r\n{",
        b"Content-Length: 10\r\nContent-Encoding: gzip\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n",
        b"\r\n{}",
    ],
)
@METHODS
@ensureDeferred
async def test_the_deadline_holds_for_the_body_too_and_aborts_the_connection(
    far: Far,
    client: ServiceClient,
    manual: ManualReactor,
    reading: Deferred[None],
    said: bytes,
    method: str,
    failure: type[Exception],
) -> None:
    far.says(b"HTTP/1.1 201 Created\r\n" + said)
    done = asking(client, method)
    await reading
    manual.clock.advance(TIMEOUT.total_seconds() - 0.1)
    assert not done.called
    manual.clock.advance(0.2)
    with pytest.raises(failure, match="TimeoutError"):
        await done
    assert (await far.lines[0].closed) is ConnectionLost, "closed politely instead of aborted"
    assert len(far.requests) == 1


@ensureDeferred
async def test_a_dripping_body_does_not_move_the_deadline(
    far: Far, client: ServiceClient, manual: ManualReactor, reading: Deferred[None]
) -> None:
    far.says(answer(201, b" " * 100)[:-90])
    done = asking(client, "POST")
    await reading
    (line,) = far.lines
    for _ in range(29):
        line.say(b" ")
        manual.clock.advance(1)
    assert not done.called
    manual.clock.advance(1.1)
    with pytest.raises(OutcomeUnknown, match="TimeoutError"):
        await done


class NeverConnected(ManualReactor):
    """A network on which no connection is ever made."""

    def connectTCP(self, host: str, port: int, factory: Any, *args: Any, **kwargs: Any) -> Any:
        class Connector:
            def stopConnecting(self) -> None:
                """There is nothing to stop."""

        factory.doStart()
        return Connector()


@ensureDeferred
async def test_a_deadline_before_there_is_a_connection_is_unavailable(far: Far) -> None:
    manual = NeverConnected()
    client = ServiceClient(reactor=manual, address=far.address(), timeout=TIMEOUT)
    done = Deferred.fromCoroutine(client.post("a", body={}, begin=yes))
    manual.clock.advance(TIMEOUT.total_seconds())
    with pytest.raises(Unavailable):
        await done


@METHODS
@ensureDeferred
async def test_who_stops_waiting_aborts_the_connection_and_nothing_is_repeated(
    far: Far, client: ServiceClient, method: str, failure: type[Exception]
) -> None:
    asked = under_way(far, lambda line: None)
    done = asking(client, method)
    line = await asked
    done.cancel()
    with pytest.raises(failure, match="CancelledError"):
        await done
    assert (await line.closed) is ConnectionLost
    assert len(far.requests) == 1


# Begun or not


@ensureDeferred
async def test_a_refused_connection_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        number = probe.getsockname()[1]
    address = ServiceAddress(url=f"http://127.0.0.1:{number}", token="t")
    client = ServiceClient(reactor=reactor, address=address, timeout=TIMEOUT)
    with pytest.raises(Unavailable, match="refused"):
        await client.post("a", body={}, begin=yes)
    with pytest.raises(Unavailable, match="refused"):
        await client.get("a")


@ensureDeferred
async def test_a_post_is_written_in_the_turn_in_which_it_was_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that is stopped in between would write it when it wakes."""
    written: list[bytes] = []
    request = HttpConnection.request

    def at_once(connection: Any, what: bytes, **options: bool) -> Any:
        answered = request(connection, what, **options)
        line, _ = listener.accept()
        written.append(line.recv(65536))
        line.sendall(answer(201, b"{}"))
        return answered

    monkeypatch.setattr(HttpConnection, "request", at_once)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = ServiceClient(
            reactor=reactor, address=ServiceAddress(url=url, token="t"), timeout=TIMEOUT
        )
        await client.post("a", body={"k": "v"}, begin=yes)
        await client.stopService()
    assert written[0].startswith(b"POST /a HTTP/1.1")
    assert written[0].endswith(b'{"k":"v"}')


class Nameless(ManualReactor):
    """A network without names."""

    class nameResolver:  # noqa: N801
        @staticmethod
        def resolveHostName(receiver: Any, name: str, *args: Any, **kwargs: Any) -> None:
            receiver.resolutionBegan(None)
            receiver.resolutionComplete()


@ensureDeferred
async def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    address = ServiceAddress(url="http://nobody.example/api", token="t")
    with pytest.raises(Unavailable, match="DNSLookupError"):
        await ServiceClient(reactor=Nameless(), address=address, timeout=TIMEOUT).post(
            "a", body={}, begin=yes
        )


@ensureDeferred
async def test_a_failed_tls_handshake_is_unavailable(far: Far, tmp_path: Path) -> None:
    context = ssl.DefaultOpenSSLContextFactory(*self_signed(tmp_path))
    port = reactor.listenSSL(0, far, context, interface="127.0.0.1")
    url = f"https://127.0.0.1:{port.getHost().port}"
    client = ServiceClient(
        reactor=reactor, address=ServiceAddress(url=url, token="t"), timeout=TIMEOUT
    )
    try:
        with pytest.raises(Unavailable, match=r"(?i)certificate|ssl"):
            await client.post("a", body={}, begin=yes)
    finally:
        await port.stopListening()
    assert far.requests == []


@pytest.mark.parametrize("names", [(), ("another.example",), ("*.*",)])
@ensureDeferred
async def test_a_trusted_certificate_of_nobody_or_another_host_is_refused(
    far: Far, tmp_path: Path, names: tuple[str, ...]
) -> None:
    files = self_signed(tmp_path, names=names)
    port = reactor.listenSSL(
        0, far, ssl.DefaultOpenSSLContextFactory(*files), interface="127.0.0.1"
    )
    certificate = ssl.Certificate.loadPEM(Path(files[1]).read_bytes())
    agent = HttpAgent(reactor=reactor, connections=2, keep_alive=60)
    agent._policy = BrowserLikePolicyForHTTPS(trustRoot=certificate)
    far.says(answer(200))
    try:
        with pytest.raises(NotBegun, match=r"(?i)certificate|mismatch|pattern"):
            await agent.request(b"GET", f"https://127.0.0.1:{port.getHost().port}/".encode())
    finally:
        await agent.close()
        await port.stopListening()
    assert far.requests == []


class Rude(Line):
    """Hangs up on everybody."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.abortConnection()


class RudeFar(Far):
    def buildProtocol(self, addr: Any) -> Line:
        return Rude(self)


@ensureDeferred
async def test_a_tls_handshake_that_breaks_off_is_unavailable() -> None:
    far = RudeFar()
    far.open()
    try:
        with pytest.raises(Unavailable):
            await ServiceClient(
                reactor=reactor, address=far.address("https"), timeout=TIMEOUT
            ).post("a", body={}, begin=yes)
    finally:
        await far.close()


@ensureDeferred
async def test_what_is_held_back_at_the_last_moment_was_never_written(
    far: Far, client: ServiceClient
) -> None:
    with pytest.raises(HeldBack):
        await client.post("a", body={}, begin=lambda: False)
    far.says(answer(200, b"{}"))
    await client.get("b")
    (line,) = far.lines
    assert [request.target for request in far.requests] == ["/api/v1/b"]
    assert not line.closed.called


@ensureDeferred
async def test_a_look_at_the_lease_that_fails_leaves_no_connection(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(200, b"{}"))
    await client.get("a")

    def fail() -> bool:
        raise KeyError("no such send")

    with pytest.raises(Unavailable, match="no such send"):
        await client.post("b", body={}, begin=fail)
    await far.lines[0].closed
    assert len(far.requests) == 1


@ensureDeferred
async def test_a_connection_for_which_a_request_was_held_back_is_used_again(
    far: Far, client: ServiceClient
) -> None:
    """A send that waits for its moment needs no new connection each time."""
    far.says(answer(200, b"{}"))
    await client.get("a")
    for _ in range(3):
        with pytest.raises(HeldBack):
            await client.post("b", body={}, begin=lambda: False)
    far.says(answer(200, b"{}"))
    await client.get("c")
    assert len(far.lines) == 1
    assert [request.target for request in far.requests] == ["/api/v1/a", "/api/v1/c"]


@ensureDeferred
async def test_begin_is_asked_when_there_is_a_connection_and_only_once(
    far: Far, client: ServiceClient
) -> None:
    asked = []
    far.says(answer(200, b"{}"))
    await client.post("a", body={}, begin=lambda: not asked.append(len(far.requests)))  # type: ignore[func-returns-value]
    assert asked == [0]


# Broken off


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20", b"HTTP/1.1 201 Created\r\nContent-"])
@ensureDeferred
async def test_a_post_whose_connection_drops_is_unknown_and_not_repeated(
    far: Far, client: ServiceClient, said: bytes
) -> None:
    far.reply = lambda line: line.hang_up(said)
    with pytest.raises(OutcomeUnknown):
        await client.post("a", body={}, begin=yes)
    assert len(far.requests) == 1


@ensureDeferred
async def test_a_post_on_a_kept_connection_that_drops_is_unknown_too(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(200, b"{}"))
    await client.get("a")
    far.reply = lambda line: line.hang_up()
    with pytest.raises(ConnectionDropped):
        await client.post("b", body={}, begin=yes)
    assert [(len(far.requests), len(far.lines))] == [(2, 1)]


@ensureDeferred
async def test_a_get_whose_connection_drops_is_repeated_once(
    far: Far, client: ServiceClient
) -> None:
    def second_time_lucky(line: Line) -> None:
        if len(far.requests) == 1:
            line.hang_up()
        else:
            line.say(answer(200, b"{}"))

    far.reply = second_time_lucky
    assert (await client.get("a")).status == 200
    assert len(far.requests) == 2


@ensureDeferred
async def test_a_get_is_repeated_no_more_than_once(far: Far, client: ServiceClient) -> None:
    far.reply = lambda line: line.hang_up()
    with pytest.raises(Unavailable):
        await client.get("a")
    assert len(far.requests) == 2


@pytest.mark.parametrize(
    "said",
    [
        answer(201, b'{"id": "1"}')[:-1],
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        answer(201, gzip.compress(b'{"id": "1"}', mtime=0), Content_Encoding="gzip")[:-9],
    ],
)
@ensureDeferred
async def test_a_body_that_breaks_off_or_is_garbled_is_no_answer(
    far: Far, client: ServiceClient, said: bytes
) -> None:
    far.reply = lambda line: line.hang_up(said)
    with pytest.raises(OutcomeUnknown):
        await client.post("a", body={}, begin=yes)
    with pytest.raises(Unavailable):
        await client.get("a")


@ensureDeferred
async def test_a_body_without_a_length_ends_where_anybody_could_have_cut_it(
    far: Far, client: ServiceClient
) -> None:
    far.reply = lambda line: line.hang_up(b"HTTP/1.1 201 Created\r\n\r\n{}")
    with pytest.raises(OutcomeUnknown, match="PotentialDataLoss"):
        await client.post("a", body={}, begin=yes)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"\0" * 99])
@ensureDeferred
async def test_what_is_no_http_is_no_answer(far: Far, client: ServiceClient, said: bytes) -> None:
    far.reply = lambda line: line.hang_up(said)
    with pytest.raises(OutcomeUnknown):
        await client.post("a", body={}, begin=yes)


@ensureDeferred
async def test_nothing_is_unpacked(far: Far, client: ServiceClient) -> None:
    """A gigabyte of zeros is a megabyte in gzip, and a page of it holds the reactor."""
    far.says(answer(200, gzip.compress(b"{}"), Content_Encoding=" GZip"))
    read = await client.get("a")
    assert far.only(lambda request: request.headers["accept-encoding"]) == "identity"
    assert read.summary() == "200, encoded in gzip"
    with pytest.raises(ValueError, match="encoded in gzip"):
        read.json()
    far.says(answer(200, b"{}", Content_Encoding="identity"))
    assert (await client.get("a")).json() == {}


@ensureDeferred
async def test_a_body_that_is_too_large_is_not_read_to_its_end(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(201, b'"' + b"a" * ONE_BYTES + b'"'))
    with pytest.raises(AnswerTooLong):
        await client.post("a", body={}, begin=yes)
    far.says(answer(201, b" " * ONE_BYTES))
    assert len((await client.post("a", body={}, begin=yes)).body) == ONE_BYTES


@ensureDeferred
async def test_what_was_posted_may_come_back_in_other_words(
    far: Far, client: ServiceClient
) -> None:
    far.says(answer(201, b'"' + b"\\u2603" * 50_000 + b'"'))
    posted = "\u2603" * 50_000
    assert (await client.post("a", body=posted, begin=yes)).json() == posted


@pytest.mark.parametrize(
    ("body", "is_too_much"),
    [
        (b"[" + b"{}," * 1100 + b"1]", True),
        (b"[" + b'"",' * 1100 + b"1]", True),
        (b"[" + b"[" * 1100, True),
        (b"{" + b'"a":1,' * 1100 + b'"b":2}', True),
        (b'"' + b"," * 9000 + b'"', False),
        (b'["' + rb"\"," * 9000 + b'"]', False),
        (b'["' + rb"\\" * 9000 + b'",1]', False),
        (b" " * 9000 + b"[]", False),
    ],
)
@ensureDeferred
async def test_an_answer_has_no_more_values_than_one_thing_can_have(
    far: Far, client: ServiceClient, body: bytes, is_too_much: bool
) -> None:
    far.says(answer(200, body))
    if is_too_much:
        with pytest.raises(TooLong, match="values"):
            await client.get("a")
    else:
        (await client.get("a")).json()


@ensureDeferred
async def test_a_refused_answer_is_counted_by_the_limit(far: Far) -> None:
    told: list[str] = []
    client = ServiceClient(
        reactor=reactor, address=far.address(), timeout=TIMEOUT, refused=told.append
    )
    for said in (
        answer(200, b" " * 70_000),
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 30,
        answer(200, b"[" + b"1," * 2000 + b"1]"),
    ):
        far.says(said)
        with pytest.raises(TooLong):
            await client.get("a")
    assert told == ["bytes", "headers", "interim", "values"]
    await client.stopService()


@ensureDeferred
async def test_an_endless_body_is_cut(far: Far, client: ServiceClient) -> None:
    def pour(line: Line) -> None:
        line.say(b"HTTP/1.1 200 OK\r\n\r\n")
        line.transport.registerProducer(Tap(line), False)

    far.reply = pour
    with pytest.raises(TooLong):
        await client.get("a")
    await far.lines[0].closed


class Tap:
    """Runs as long as somebody drinks."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def resumeProducing(self) -> None:
        self.line.say(b" " * 65536)

    def stopProducing(self) -> None:
        """The connection is gone."""


# What an answer says


def response(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> HttpResponse:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    read = HttpAnswer(http_version="1.1", code=status, phrase=b"", raw_headers=raw, body=body)
    treqs = PreparedResponse(read, IndexableCookieJar())
    return HttpResponse(response=treqs, status=status, body=body)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}"])
def test_json_that_is_none_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        response(200, body).json()


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("7", timedelta(seconds=7)),
        (" 120 ", timedelta(minutes=2)),
        ("0", timedelta(0)),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("9" * 50, None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", timedelta(seconds=29)),
        ("Fri, 31 Dec 1999 23:59:00 GMT", timedelta(0)),
        ("Fri, 31 Dec", None),
    ],
)
def test_retry_after_is_seconds_or_a_time(text: str, asked: timedelta | None) -> None:
    headers = {"Retry-After": text, "Date": "Fri, 31 Dec 1999 23:59:30 GMT"}
    assert response(429, headers=headers).retry_after == asked


def test_a_summary_executes_nothing_and_ends_no_line() -> None:
    said = response(500, b"\x1b[2J\r\n2026-11-28 all is well\x9b\x00 \xe2\x80\xae").summary()
    assert said == "500 \\u001b[2J 2026-11-28 all is well\ufffd\\u0000 \\u202e"


def test_a_summary_is_short_and_readable_whatever_came() -> None:
    said = response(500, b"\xffError " + b"x" * 5000).summary()
    assert said.startswith("500 \ufffdError xxx")
    assert len(said) < 250
    assert response(204).summary() == "204"


# Told of failures


async def failures(far: Far, method: str, *, deadline: bool = False) -> list[tuple[str, str]]:
    """What whoever counts failures is told of one exchange."""
    told: list[tuple[str, str]] = []
    manual = ManualReactor()
    client = ServiceClient(
        reactor=manual,
        address=far.address(),
        timeout=TIMEOUT,
        failed=lambda *failure: told.append(failure),
    )
    if deadline:
        asked = under_way(far, lambda line: None)
        done = asking(client, method)
        await asked
        manual.clock.advance(TIMEOUT.total_seconds())
    else:
        done = asking(client, method)
    with suppress(Unavailable, OutcomeUnknown):
        await done
    await client.stopService()
    return told


@pytest.mark.parametrize("method", ["GET", "POST"])
@ensureDeferred
async def test_a_failure_is_told_once_by_its_kind(far: Far, method: str) -> None:
    for status, kinds in ((201, []), (302, []), (400, ["http_error.400"])):
        far.says(answer(status, b"{}"))
        assert await failures(far, method) == [(method, kind) for kind in kinds]
    assert await failures(far, method, deadline=True) == [(method, "timeout")]
    far.reply = lambda line: line.transport.abortConnection()
    assert await failures(far, method) == [(method, "connection_error")]


@ensureDeferred
async def test_what_succeeds_at_the_second_try_or_was_given_up_is_no_failure(far: Far) -> None:
    def drop_the_first(line: Line) -> None:
        line.hang_up() if len(far.requests) == 1 else line.say(answer(200, b"{}"))

    far.reply = drop_the_first
    assert await failures(far, "GET") == []
    told: list[Any] = []
    client = ServiceClient(
        reactor=reactor,
        address=far.address(),
        timeout=TIMEOUT,
        failed=lambda *failure: told.append(failure),
    )
    asked = under_way(far, lambda line: None)
    done = asking(client, "POST")
    await asked
    done.cancel()
    with pytest.raises(OutcomeUnknown):
        await done
    with pytest.raises(HeldBack):
        await client.post("a", body={}, begin=lambda: False)
    assert told == []


@ensureDeferred
async def test_how_long_each_complete_answer_took_is_told(far: Far) -> None:
    took: list[float] = []
    client = ServiceClient(
        reactor=reactor, address=far.address(), timeout=TIMEOUT, took=took.append
    )
    for status in (200, 503):
        far.says(answer(status, b"{}"))
        await client.get("a")
    assert len(took) == 2
    assert all(0 <= seconds < TIMEOUT.total_seconds() for seconds in took)
    far.reply = lambda line: line.transport.loseConnection()
    with pytest.raises(Unavailable):
        await client.get("a")
    assert len(took) == 2
    await client.stopService()
