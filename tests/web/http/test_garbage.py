"""Requests and connections leave nothing that only a collection of garbage would find."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence

import pytest
import pytest_twisted

from sbm.web.http.channel import BoundedChannel
from sbm.web.http.connection_limits import Phase
from sbm.web.http.http_errors import Refusal
from sbm.web.http.request import BoundedRequest
from tests.web.conftest import Api
from tests.web.sockets import asked, comes_true, connected, head

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def errors() -> set[int]:
    """The refusals that are in memory; other tests have some that are never raised."""
    return {id(one) for one in gc.get_objects() if isinstance(one, Refusal)}


def requests() -> list[BoundedRequest]:
    """The requests that are in memory; a connection of another test may have one for a while."""
    return [one for one in gc.get_objects() if isinstance(one, BoundedRequest)]


@pytest.fixture
def channels(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[BoundedChannel]]:
    """The connections that are made during the test."""
    made: list[weakref.ref[BoundedChannel]] = []
    begin = BoundedChannel.connectionMade

    def connection_made(self: BoundedChannel) -> None:
        made.append(weakref.ref(self))
        begin(self)

    monkeypatch.setattr(BoundedChannel, "connectionMade", connection_made)
    return made


@pytest.fixture
def errors_before() -> Iterator[set[int]]:
    """What is in memory before the test; nothing is collected during it."""
    gc.collect()
    gc.disable()
    yield errors()
    gc.enable()


@pytest.mark.parametrize(
    ("kind", "body", "token"),
    [
        (JSON, b'{"a": "' + b"x" * 100_000, "right"),
        (JSON, b"[" + b"[]," * 20_000 + b"[]]", "right"),
        (JSON, b'{"short_name": 1}', "right"),
        (FORM, b"&".join([b"a=1"] * 5000), "right"),
        (JSON, b"{}", "wrong"),
    ],
    ids=["unreadable", "too many values", "invalid", "too many fields", "not authenticated"],
)
@pytest_twisted.ensureDeferred
async def test_a_refused_request_leaves_no_error(
    api: Api, errors_before: set[int], kind: str, body: bytes, token: str
) -> None:
    lines = f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"
    given = {"token": token} if token == "wrong" else {}
    start = head(api, "POST /api/v1/messageset/", *lines, **given)
    status, _ = await (await asked(api, start + body)).answer()
    assert status in (400, 401)
    assert errors() <= errors_before


@pytest.mark.parametrize(
    ("asked_for", "expected"),
    [
        ("GET /api/v1/messageset/", 200),
        ("GET /api/v1/messageset/1/", 404),
        ("GET /nowhere", 404),
        ("GET /livez", 200),
    ],
    ids=["list", "row", "unknown path", "probe"],
)
@pytest_twisted.ensureDeferred
async def test_an_answered_request_is_not_kept(api: Api, asked_for: str, expected: int) -> None:
    gc.collect()
    gc.disable()
    try:
        before = requests()
        start = head(api, asked_for, "Connection: close")
        answer = await (await asked(api, start)).rest()
        assert answer.startswith(b"HTTP/1.1 %d " % expected)
        kept = [one for one in requests() if not any(one is other for other in before)]
    finally:
        gc.enable()
    assert not kept


JSON_TYPE = f"Content-Type: {JSON}"
CHUNKED = "Transfer-Encoding: chunked"
UPLOAD = "Content-Type: multipart/form-data; boundary=x"


@pytest.mark.parametrize("ends", ["client", "daemon"])
@pytest.mark.parametrize(
    ("lines", "body", "phase"),
    [
        ((), b"", Phase.IDLE),
        (("GET /livez",), None, Phase.HEADERS),
        (("POST /api/v1/messageset/", JSON_TYPE, CHUNKED), b"1\r\n{\r\n", Phase.BODY),
        (("POST /api/v1/messageset/", JSON_TYPE, "Content-Length: 9"), b"{", Phase.BODY),
        (("POST /console/login", f"Content-Type: {FORM}", CHUNKED), b"1\r\na\r\n", Phase.BODY),
        (("POST /api/v1/binarycontent/", UPLOAD, CHUNKED), b"3\r\n--x\r\n", Phase.BODY),
    ],
    ids=["new", "head", "chunks", "length", "login", "upload"],
)
@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_cut_off_is_not_kept(
    api: Api,
    channels: Sequence[weakref.ref[BoundedChannel]],
    lines: Sequence[str],
    body: bytes | None,
    phase: Phase,
    ends: str,
) -> None:
    def is_read() -> bool:
        channel = channels[0]() if channels else None
        return channel is not None and channel.phase is phase and not channel.waits_for_turn

    gc.collect()
    gc.disable()
    try:
        client = await connected(api)
        if lines:
            sent = head(api, *lines)
            client.send(sent.removesuffix(b"\r\n") if body is None else sent + body)
        await comes_true(is_read)
        if ends == "client":
            client.hang_up()
        else:
            abandon(channels[0])
        await comes_true(lambda: channels[0]() is None)
    finally:
        gc.enable()


def abandon(channel: weakref.ref[BoundedChannel]) -> None:
    """Close a connection, as if it makes room for another."""
    found = channel()
    assert found is not None
    found.abandon("connections")
