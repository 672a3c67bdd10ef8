"""What is no request, or too much of one: a clear answer, and nobody else notices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from sbm.web.http.body_limits import USUAL_BYTES
from sbm.web.http.crowd import FOUND_SECONDS
from tests.web.conftest import Api, reactor, served
from tests.web.sockets import MULTIPART, asked, connected, form, head

UNREADABLE = {"detail": "The request cannot be read."}
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_request_line_is_told_so_in_json(api: Api, sent: bytes) -> None:
    conversation = await asked(api, sent)
    assert await conversation.answer() == (400, UNREADABLE)


@pytest.mark.parametrize(
    "header",
    [
        "X: a\x00b",
        "X: a\rb",
        "X: a\nb",
        "no colon",
        "Sp ace: x",
        "Content-Length : 5",
        ": empty",
        "X: folded\r\n line",
        "Content-Length: -1",
        "Content-Length: +1",
        "Content-Length: 0x10",
        "Content-Length: 1, 1",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
@pytest_twisted.ensureDeferred
async def test_headers_that_could_be_read_in_two_ways_are_refused(api: Api, header: str) -> None:
    conversation = await asked(api, head(api, "POST /api/v1/schedule/", header))
    assert await conversation.answer() == (400, UNREADABLE)


@pytest_twisted.ensureDeferred
async def test_chunks_over_http_1_0_are_refused(api: Api) -> None:
    said = b"POST /api/v1/schedule/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert await (await asked(api, said)).answer() == (400, UNREADABLE)


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"-1\r\n", b"1\r\nxyz", b"1" * 2000, b"1;\x00\r\nx\r\n", b"0\r\n" + b"t" * 2**17],
)
@pytest_twisted.ensureDeferred
async def test_broken_chunks_are_refused(api: Api, chunks: bytes) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Transfer-Encoding: chunked")
    assert await (await asked(api, start + chunks)).answer() == (400, UNREADABLE)


@pytest_twisted.ensureDeferred
async def test_a_long_request_line_is_refused_with_or_without_its_end(api: Api) -> None:
    for end in (b" HTTP/1.1\r\nHost: h\r\n\r\n", b"y" * 2**20):
        conversation = await asked(api, b"GET /api/v1/?x=" + b"y" * 5000 + end)
        status, body = await conversation.answer()
        assert status == 400
        assert body["detail"].startswith("Request Line is too large (")
    fits = "GET /api/v1/?x=" + "y" * (4094 - 24)
    assert b" 200 " in await (await asked(api, head(api, fits, CLOSE))).rest()


@pytest.mark.parametrize(
    "headers",
    [
        ["X: " + "y" * 9000],
        ["X: " + "y" * 2**20],
        [f"X{number}: y" for number in range(101)],
        [f"X{number}: " + "y" * 4000 for number in range(9)],
    ],
)
@pytest_twisted.ensureDeferred
async def test_large_headers_and_many_are_refused(api: Api, headers: list[str]) -> None:
    conversation = await asked(api, head(api, "GET /api/v1/", *headers))
    assert (await conversation.answer())[0] == 400


@pytest_twisted.ensureDeferred
async def test_headers_that_are_no_text_are_no_error(api: Api) -> None:
    headers = [f"{name}: \xff\xfe" for name in ("Accept-Language", "Content-Type", "Cookie")]
    conversation = await asked(api, head(api, "POST /api/v1/schedule/", *headers, CLOSE))
    assert b" 201 " in await conversation.rest()
    refused = await asked(api, head(api, "GET /api/v1/", "Accept: \xff\xfe", CLOSE))
    assert b" 406 " in await refused.rest()


# The Host header


@pytest.mark.parametrize("path", ["/api/v1/schedule/", "/livez", "/metrics", "/media/a", "/docs/"])
@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        ([], "The Host header is missing."),
        (["Host:"], "Invalid Host header."),
        (["Host: a b"], "Invalid Host header."),
        (["Host: a/b"], "Invalid Host header."),
        (["Host: h", "Host: h"], "Invalid Host header."),
    ],
)
@pytest_twisted.ensureDeferred
async def test_http_1_1_without_a_host_is_refused_at_every_path(
    api: Api, path: str, lines: list[str], detail: str
) -> None:
    start = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""])
    conversation = await asked(api, start.encode())
    assert await conversation.answer() == (400, {"detail": detail})


@pytest_twisted.ensureDeferred
async def test_a_body_behind_a_wrong_host_is_not_taken_for_a_request(api: Api) -> None:
    smuggled = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 2") + b"{}"
    start = b"POST /livez HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    conversation = await asked(api, start + smuggled)
    assert (await conversation.answer())[0] == 400
    assert (await api.get("/api/v1/schedule/")).json["count"] == 0


# Half-closed connections


@pytest_twisted.ensureDeferred
async def test_a_client_that_closes_its_half_gets_all_its_answers(api: Api) -> None:
    body = b'{"minute": "5"}'
    post = head(api, "POST /api/v1/schedule/", JSON, f"Content-Length: {len(body)}") + body
    conversation = await asked(api, post * 2)
    conversation.send_no_more()
    assert (await conversation.rest()).count(b"HTTP/1.1 201 ") == 2


@pytest_twisted.ensureDeferred
async def test_a_client_that_closes_its_half_within_a_request_is_told_so(api: Api) -> None:
    conversation = await asked(api, head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 9"))
    conversation.send_no_more()
    detail = {"detail": "The request ended before it was complete."}
    assert await conversation.answer() == (400, detail)


@pytest_twisted.ensureDeferred
async def test_a_client_that_closes_its_half_gets_a_whole_file(api: Api) -> None:
    (api.media_root / "a.png").write_bytes(b"x" * 3_000_000)
    conversation = await asked(api, head(api, "GET /media/a.png"))
    conversation.send_no_more()
    assert (await conversation.rest()).endswith(b"x" * 3_000_000)


# Methods and versions


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("TRACE /api/v1/", 405),
        ("CONNECT /api/v1/", 405),
        ("BREW /api/v1/schedule/", 405),
        ("CONNECT h:443", 404),
        ("GET *", 404),
        ("GET nothing", 404),
        ("GET ?x", 404),
        ("GET //", 404),
        ("PUT /media/a.png", 405),
    ],
)
@pytest_twisted.ensureDeferred
async def test_odd_methods_and_targets_are_answered_in_json(
    api: Api, line: str, status: int
) -> None:
    conversation = await asked(api, head(api, line, CLOSE))
    answered, body = await conversation.answer()
    assert (answered, list(body)) == (status, ["detail"])


@pytest_twisted.ensureDeferred
async def test_http_1_0_is_answered_and_closed(api: Api) -> None:
    said = head(api, "GET /api/health/").replace(b"HTTP/1.1\r\nHost: h", b"HTTP/1.0")
    assert (await (await asked(api, said)).answer())[0] == 200


@pytest_twisted.ensureDeferred
async def test_requests_in_one_piece_are_answered_in_order(api: Api) -> None:
    paths = ["/api/v1/", "/api/v1/nothere", "/api/v1/schedule/"] * 5
    said = b"".join(head(api, f"GET {path}") for path in paths)
    conversation = await asked(api, said + head(api, "GET /livez", CLOSE))
    statuses = [int(part[:3]) for part in (await conversation.rest()).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 404, 200] * 5 + [200]


# Bodies


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(api: Api) -> None:
    for length in (USUAL_BYTES + 1, 10**18, 10**23):
        start = head(api, "POST /api/v1/schedule/", JSON, f"Content-Length: {length}")
        status, body = await (await asked(api, start)).answer()
        assert (status, list(body)) == (413, ["detail"])


@pytest.mark.parametrize(
    ("target", "limit"),
    [
        ("POST /api/token-auth/", 2**13),
        ("POST /api/token-auth", 2**13),
        ("POST /api/%74oken-auth/?x=1", 2**13),
        ("POST http://h/api/v1/user/token/", 2**13),
        ("POST /api/v1/subscriptions/request", 2**16),
        ("PATCH /api/v1/subscriptions/6fb30d6b-ba06-4964-825e-20f93388b9fe/", 2**16),
        ("POST /api/v1/message/", 2**20),
        ("POST /api/v1/subscriptionsx/", 2**20),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_body_may_be_as_long_as_its_path_needs(api: Api, target: str, limit: int) -> None:
    whole = [f"Content-Length: {limit}", f"Content-Length: {limit + 1}"]
    longer = await asked(api, head(api, target, JSON, whole[1]))
    assert (await longer.answer())[0] in (413, 404)
    fitting = await asked(api, head(api, target, JSON, whole[0], CLOSE) + b" " * limit)
    assert (await fitting.answer())[0] in (400, 404)
    chunked = await asked(api, head(api, target, JSON, "Transfer-Encoding: chunked"))
    for _ in range(limit // 2**12 + 1):
        chunked.send(b"1000\r\n" + b" " * 2**12 + b"\r\n")
    assert (await chunked.answer())[0] in (413, 404)


@pytest_twisted.ensureDeferred
async def test_a_length_of_thousands_of_digits_is_too_large(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: " + "9" * 6000)
    assert (await (await asked(api, start)).answer())[0] == 413


@pytest_twisted.ensureDeferred
async def test_who_is_not_known_is_told_so_before_that_the_body_is_too_large(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 99999999", token="wrong")
    assert (await (await asked(api, start)).answer())[0] == 401


@pytest_twisted.ensureDeferred
async def test_chunks_without_end_are_refused_while_they_come(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Transfer-Encoding: chunked")
    conversation = await asked(api, start)
    for _ in range(17):
        conversation.send(b"10000\r\n" + b" " * 2**16 + b"\r\n")
    assert (await conversation.answer())[0] == 413


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_on_still_gets_its_refusal(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 20000000")
    conversation = await asked(api, start + b"x" * 20_000_000)
    assert (await conversation.answer())[0] == 413


def in_chunks(api: Api, pieces: Sequence[bytes]) -> bytes:
    """A request whose body comes in these pieces, one after the other."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    start = head(api, "POST /api/v1/schedule/", JSON, "Transfer-Encoding: chunked", CLOSE)
    return start + chunks + b"0\r\n\r\n"


@pytest_twisted.ensureDeferred
async def test_a_body_in_a_few_tiny_chunks_is_read(api: Api) -> None:
    body = b'{"minute": "5", "x": "' + b"y" * 150 + b'"}'
    status, made = await (await asked(api, in_chunks(api, [b"%c" % one for one in body]))).answer()
    assert (status, made["minute"]) == (201, "5")


@pytest_twisted.ensureDeferred
async def test_a_long_body_may_have_many_chunks(api: Api) -> None:
    pieces = [b'{"minute": "5", "x": "', *[b"y" * 64] * 5000, b'"}']
    status, made = await (await asked(api, in_chunks(api, pieces))).answer()
    assert (status, made["minute"]) == (201, "5")


@pytest_twisted.ensureDeferred
async def test_many_tiny_chunks_are_refused_while_they_come(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Transfer-Encoding: chunked")
    told = await (await asked(api, start + b"1\r\ny\r\n" * 250)).answer()
    assert told == (400, {"detail": "The chunks of the body are too small."})


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_within_a_body_changes_nothing(api: Api) -> None:
    start = head(api, "POST /api/v1/schedule/", JSON, "Content-Length: 100")
    conversation = await asked(api, start + b'{"minute": "5"}')
    conversation.hang_up()
    await conversation.rest()
    assert (await api.get("/api/v1/schedule/")).json["count"] == 0


# Expect: 100-continue


@pytest_twisted.ensureDeferred
async def test_a_client_that_asks_may_go_on(api: Api) -> None:
    start = head(
        api, "POST /api/v1/schedule/", JSON, CLOSE, "Expect: 100-continue", "Content-Length: 2"
    )
    conversation = await asked(api, start)
    assert await conversation.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    conversation.send(b"{}")
    assert b"HTTP/1.1 201 " in await conversation.rest()


@pytest_twisted.ensureDeferred
async def test_a_client_that_asks_whether_it_may_upload_is_known_first(api: Api) -> None:
    body = form(b"x")
    headers = [f"Content-Type: {MULTIPART}", "Expect: 100-continue", f"Content-Length: {len(body)}"]
    unknown = await asked(api, head(api, "POST /api/v1/binarycontent/", *headers, token="wrong"))
    assert (await unknown.answer())[0] == 401  # and no 100
    known = await asked(api, head(api, "POST /api/v1/binarycontent/", *headers, CLOSE))
    await known.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    known.send(body)
    assert b"HTTP/1.1 201 " in await known.rest()


@pytest_twisted.ensureDeferred
async def test_a_client_that_asks_with_too_large_a_body_may_not_go_on(api: Api) -> None:
    headers = (JSON, "Expect: 100-continue", "Content-Length: 2000000")
    conversation = await asked(api, head(api, "POST /api/v1/schedule/", *headers))
    assert (await conversation.answer())[0] == 413


# Many


@pytest_twisted.ensureDeferred
async def test_clients_that_say_nothing_do_not_keep_others_out(
    database_uri: str, tmp_path: Path
) -> None:
    from sbm.web.http.connection_limits import Limits

    async with served(
        database_uri, tmp_path, limits=Limits(connections=3, spare=2, new_seconds=0)
    ) as api:
        silent = [await connected(api) for _ in range(10)]
        await deferLater(reactor, 2 * FOUND_SECONDS)
        assert (await api.get("/api/v1/")).status == 200
        assert sum(not one.is_over for one in silent) <= 5
        for one in silent:
            one.hang_up()
