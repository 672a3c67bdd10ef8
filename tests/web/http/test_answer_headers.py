"""What every answer says of itself, of whatever kind it is, and wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_twisted

from sbm.web.http.body_limits import USUAL_BYTES
from sbm.web.http.overload import Overloaded
from tests.web.conftest import Api
from tests.web.http.test_channel import GET, POST, Echo, SiteUnderTest, Transport
from tests.web.sockets import asked, head

JSON = "Content-Type: application/json"
CLOSE = "Connection: close"
NO_USER = "Authorization: none"


def headers_of(answer: bytes) -> Mapping[str, str]:
    """The headers of an answer, each of which is there once; their names do not depend on case."""
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = [line.split(": ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name.title(): value for name, value in pairs}


def assert_protected(answer: bytes, caching: str = "no-store") -> None:
    headers = headers_of(answer)
    assert headers["Server"] == "sbm"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == caching
    assert headers["X-Request-Id"]
    assert b"Twisted" not in answer


@pytest.mark.parametrize(
    ("line", "headers", "body", "status"),
    [
        ("GET /api/v1/subscriptions/", [], b"", 200),
        ("HEAD /api/v1/subscriptions/", [], b"", 200),
        ("OPTIONS /api/v1/subscriptions/", [], b"", 200),
        ("POST /api/v1/user/token/", [JSON], b'{"email": "b@example.org"}', 201),
        ("POST /api/v1/user/token/", [JSON], b"{}", 400),
        ("POST /api/token-auth/", [JSON], b'{"username": "b", "password": "p"}', 400),
        ("POST /api/v1/subscriptions/", [JSON], b"{", 400),
        ("GET /api/v1/subscriptions/nobody/", [], b"", 404),
        ("PUT /api/v1/subscriptions/", [], b"", 405),
        ("GET /api/v1/", ["Accept: text/csv"], b"", 406),
        ("POST /api/v1/schedule/", ["Content-Type: text/csv"], b"a", 415),
        ("GET /nowhere", [], b"", 404),
        ("GET //", [], b"", 404),
        ("GET /media/nothing.mp3", [], b"", 404),
        ("GET /livez", [], b"", 200),
        ("GET /readyz", [], b"", 200),
        ("GET /metrics", [], b"", 200),
        ("OPTIONS *", [], b"", 200),
        ("GET *", [], b"", 404),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_answer_is_neither_kept_nor_guessed_about(
    api: Api, line: str, headers: list[str], body: bytes, status: int
) -> None:
    said = head(api, line, CLOSE, f"Content-Length: {len(body)}", *headers) + body
    answer = await (await asked(api, said)).rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert_protected(answer)


@pytest.mark.parametrize(
    ("line", "caching"),
    [
        ("GET /docs", "no-cache"),
        ("GET /api/v1/openapi.json", "no-cache"),
        ("GET /media/a.mp3", "public, max-age=31536000, immutable"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_everyone_may_read_may_be_kept(api: Api, line: str, caching: str) -> None:
    (api.media_root / "a.mp3").write_bytes(b"sound")
    answer = await (await asked(api, head(api, line, CLOSE))).rest()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert_protected(answer, caching)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /api/v1/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 401),
        (b"GET /api/v1/ HTTP/1.0\r\n\r\n", 401),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_without_a_resource_is_the_same(api: Api, said: bytes, status: int) -> None:
    answer = await (await asked(api, said)).rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status) or b"HTTP/1.0" in said
    assert_protected(answer)


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        (b"GET / HTTP/1.1\r\nX-Request-ID: abc-1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nX-Request-ID: abc-1\r\nHost: h\r\n X: folded\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nX-Request-ID: a b\r\n\r\n", False),
        (b"NONSENSE\r\nX-Request-ID: abc-1\r\n\r\n", False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_has_the_id_of_the_client_if_it_was_read(
    api: Api, said: bytes, is_taken: bool
) -> None:
    answer = await (await asked(api, said)).rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (headers_of(answer)["X-Request-Id"] == "abc-1") is is_taken


@pytest.mark.parametrize(
    "lines",
    [
        (b"X-Change-Reason: one", b"X-Change-Reason: two"),
        (b"X-Change-Reason: caf\xe9",),
        (b"X-Change-Reason: \xed\xa0\x80",),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_reason_that_cannot_be_read_is_refused(api: Api, lines: tuple[bytes, ...]) -> None:
    begin = head(api, "POST /api/v1/schedule/", CLOSE, JSON, "Content-Length: 2")
    said = begin.removesuffix(b"\r\n") + b"\r\n".join(lines) + b"\r\n\r\n{}"
    answer = await (await asked(api, said)).rest()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"X-Change-Reason" in answer
    assert (await api.get("/api/v1/schedule/")).json["count"] == 0


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_too_large_is_answered_like_all(api: Api) -> None:
    length = f"Content-Length: {USUAL_BYTES + 1}"
    answer = await (await asked(api, head(api, "POST /api/v1/schedule/", JSON, length))).rest()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert_protected(answer)


@pytest_twisted.ensureDeferred
async def test_an_ordinary_user_is_forbidden_like_all(api: Api) -> None:
    said = head(api, "GET /api/v1/behind-subscriptions/", CLOSE, token=api.user_token)
    answer = await (await asked(api, said)).rest()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert_protected(answer)


@pytest_twisted.ensureDeferred
async def test_a_site_without_a_database_is_no_exception(api: Api) -> None:
    api.database.stopService()
    answer = await (await asked(api, head(api, "GET /api/v1/schedule/", CLOSE))).rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert_protected(answer)


class Broken(Echo):
    def render(self, request: Any) -> Any:
        raise RuntimeError("a bug")


def test_a_bug_below_all_error_handlers_is_answered_like_all() -> None:
    house = SiteUnderTest()
    house.site.resource = Broken()
    client = house.client()
    house.say(client, GET)
    assert client.value().startswith(b"HTTP/1.1 500 ")
    assert_protected(client.value())


def test_a_slow_request_is_answered_like_all() -> None:
    house = SiteUnderTest()
    client = house.client()
    house.say(client, POST)
    house.pass_time(60)
    assert client.value().startswith(b"HTTP/1.1 408 ")
    assert_protected(client.value())


def test_one_connection_too_many_is_answered_like_all() -> None:
    transport = Transport()  # type: ignore[no-untyped-call]
    Overloaded(SiteUnderTest().site, None, "connections").makeConnection(transport)
    assert transport.value().startswith(b"HTTP/1.1 503 ")
    assert_protected(transport.value())
