"""Files as whoever fetches them gets them."""

from __future__ import annotations

import os
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.web.http_headers import Headers

from sbm.web.http.flow import Flow
from sbm.web.resources import media
from sbm.web.resources.media import PIECE_BYTES, type_of
from tests.web.conftest import Answer, Api, reactor
from tests.web.sockets import asked, comes_true

CONTENT = "0123456789"


def stored(api: Api, name: str = "a.png", content: str | bytes = CONTENT) -> str:
    path = api.media_root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"/media/{name}"


async def fetched(api: Api, path: str, method: str = "GET", **headers: str) -> Answer:
    """What a client gets that shows no token, just as it is sent."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    said = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", "Connection: close", *lines])
    conversation = await asked(api, said.encode("ascii") + b"\r\n\r\n")
    head, _, body = (await conversation.rest()).decode("ascii").partition("\r\n\r\n")
    status, *answered = head.split("\r\n")
    told = Headers()
    for name, value in (line.split(": ", 1) for line in answered):
        told.addRawHeader(name, value)
    return Answer(status=int(status.split()[1]), headers=told, text=body)


@pytest_twisted.ensureDeferred
async def test_a_file_comes_with_its_type_and_with_orders_to_run_nothing(api: Api) -> None:
    answer = await fetched(api, stored(api))
    assert (answer.status, answer.text) == (200, CONTENT)
    told = {
        "Content-Type": "image/png",
        "Content-Length": "10",
        "Content-Disposition": None,
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cache-Control": "public, max-age=31536000, immutable",
        "Accept-Ranges": "bytes",
    }
    assert {name: answer.header(name) for name in told} == told


@pytest.mark.parametrize(
    ("name", "content_type", "is_shown"),
    [
        ("a.jpg", "image/jpeg", True),
        ("a.MP3", "audio/mpeg", True),
        ("a.ogg", "audio/ogg", True),
        ("a.svg", "image/svg+xml", False),
        ("a.html", "application/octet-stream", False),
        ("a.xhtml", "application/octet-stream", False),
        ("a.js", "application/octet-stream", False),
        ("a.png.html", "application/octet-stream", False),
        ("a.txt", "text/plain; charset=utf-8", False),
        ("a", "application/octet-stream", False),
    ],
)
def test_only_images_and_sound_are_shown(name: str, content_type: str, is_shown: bool) -> None:
    assert type_of(name) == (content_type, is_shown)


@pytest_twisted.ensureDeferred
async def test_what_is_not_shown_is_an_attachment(api: Api) -> None:
    answer = await fetched(api, stored(api, "a.svg"))
    assert answer.header("Content-Disposition") == "attachment"


@pytest_twisted.ensureDeferred
async def test_head_tells_what_get_sends(api: Api) -> None:
    path = stored(api)
    head, got = await fetched(api, path, "HEAD"), await fetched(api, path)
    assert (head.status, head.text) == (200, "")
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Cache-Control"):
        assert head.header(name) == got.header(name), name


@pytest.mark.parametrize(
    ("asked_for", "content", "told"),
    [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", CONTENT, "bytes 0-9/10"),
        ("bytes=0-", CONTENT, "bytes 0-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_part_can_be_asked_for(api: Api, asked_for: str, content: str, told: str) -> None:
    answer = await fetched(api, stored(api), Range=asked_for)
    assert (answer.status, answer.text) == (206, content)
    assert answer.header("Content-Range") == told
    assert answer.header("Content-Length") == str(len(content))


@pytest.mark.parametrize("asked_for", ["bytes=10-", "bytes=99-100", "bytes=-0"])
@pytest_twisted.ensureDeferred
async def test_where_the_file_has_nothing_nothing_is_sent(api: Api, asked_for: str) -> None:
    answer = await fetched(api, stored(api), Range=asked_for)
    assert (answer.status, answer.text) == (416, "")
    assert answer.header("Content-Range") == "bytes */10"


@pytest.mark.parametrize(
    "asked_for", ["bytes=-", "bytes=4-2", "bytes=0-1,3-4", "lines=1-2", "x", "bytes=" + "9" * 30]
)
@pytest_twisted.ensureDeferred
async def test_a_range_that_is_not_understood_is_all_of_it(api: Api, asked_for: str) -> None:
    answer = await fetched(api, stored(api), Range=asked_for)
    assert (answer.status, answer.text) == (200, CONTENT)


@pytest_twisted.ensureDeferred
async def test_whoever_has_the_file_is_told_so(api: Api) -> None:
    path = stored(api)
    first = await fetched(api, path)
    etag, modified = first.header("ETag"), first.header("Last-Modified")
    assert etag
    assert modified
    conditions: list[tuple[dict[str, str], int]] = [
        ({"If_None_Match": etag}, 304),
        ({"If_None_Match": f'"x", W/{etag}'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"x"', "If_Modified_Since": modified}, 200),
        ({"If_Modified_Since": modified}, 304),
        ({"If_Modified_Since": formatdate(0, usegmt=True)}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"Range": "bytes=0-1", "If_Range": etag}, 206),
        ({"Range": "bytes=0-1", "If_Range": modified}, 206),
        ({"Range": "bytes=0-1", "If_Range": '"x"'}, 200),
    ]
    for headers, status in conditions:
        answer = await fetched(api, path, **headers)
        assert (answer.status, answer.header("ETag")) == (status, etag), headers
        assert (answer.text == "") == (status == 304)


@pytest_twisted.ensureDeferred
async def test_nothing_but_plain_files_of_the_folder_is_served(api: Api) -> None:
    outside = api.media_root.parent / "outside.png"
    outside.write_bytes(b"x")
    (api.media_root / "folder").mkdir()
    (api.media_root / "folder" / "a.png").write_bytes(b"x")
    (api.media_root / "link.png").symlink_to(outside)
    (api.media_root / ".upload-x").write_bytes(b"x")
    os.mkfifo(api.media_root / "pipe.png")
    stored(api)
    for name in (
        "",
        "folder",
        "folder/",
        "folder/a.png",
        "folder%2fa.png",
        "link.png",
        "pipe.png",
        ".upload-x",
        ".",
        "%2e%2e",
        "../outside.png",
        "%2e%2e/outside.png",
        "..%2foutside.png",
        "..%5coutside.png",
        "%2e%2e%2foutside.png",
        "%252e%252e%252foutside.png",
        f"{outside}",
        f"%2f{outside}",
        "a.png/",
        "a.png%00",
        "a.png%0a",
        "%ff",
        "x" * 300,
        "é" * 200,
    ):
        conversation = await asked(
            api, f"GET /media/{name} HTTP/1.0\r\n\r\n".replace("é", "%C3%A9").encode("ascii")
        )
        assert await conversation.answer() == (404, {"detail": "Not found."}), name


@pytest_twisted.ensureDeferred
async def test_only_reading_is_allowed(api: Api) -> None:
    path = stored(api)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await fetched(api, path, method)
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS")
        assert answer.json == {"detail": f'Method "{method}" not allowed.'}
    options = await fetched(api, path, "OPTIONS")
    assert (options.status, options.header("Allow")) == (200, "GET, HEAD, OPTIONS")


@pytest_twisted.ensureDeferred
async def test_an_empty_file_is_empty(api: Api) -> None:
    answer = await fetched(api, stored(api, content=""))
    assert (answer.status, answer.text, answer.header("Content-Length")) == (200, "", "0")


def open_descriptors(name: str) -> int:
    """How many descriptors of this process are open on a file of this name."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and os.readlink(link).endswith(name) for link in links)


@pytest_twisted.ensureDeferred
async def test_no_more_is_read_than_the_client_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(_reactor: Any, work: Any, *args: Any) -> Deferred[Any]:
        return succeed(work(*args))

    class Slow:
        """Takes a piece, and is full."""

        taken = 0

        def write(self, piece: bytes) -> None:
            self.taken += len(piece)
            flow.pauseProducing()

    monkeypatch.setattr(media, "in_thread", at_once)
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * (2 * PIECE_BYTES + 1))
    opened = media._open(path)
    assert opened
    reader, client, flow = media._FileReader(reactor=reactor, file=opened), Slow(), Flow()
    sending = Deferred.fromCoroutine(reader.send(client, flow, 0, opened.size))
    taken = [client.taken]
    for _ in range(2):
        flow.resumeProducing()
        taken.append(client.taken)
    assert taken == [PIECE_BYTES, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1]
    await sending
    reader.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_hangs_up_within_a_file_leaves_it_closed(api: Api) -> None:
    with (api.media_root / "large.mp3").open("wb") as file:
        file.truncate(400 * PIECE_BYTES)  # more than sockets hold
    conversation = await asked(api, b"GET /media/large.mp3 HTTP/1.1\r\nHost: h\r\n\r\n")
    await conversation.until(b"\r\n\r\n")
    assert open_descriptors("large.mp3") == 1
    conversation.hang_up()
    await comes_true(lambda: not open_descriptors("large.mp3"))


@pytest_twisted.ensureDeferred
async def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_args: Any) -> bytes:
        return b""

    stored(api)
    monkeypatch.setattr(os, "pread", nothing)
    conversation = await asked(api, b"GET /media/a.png HTTP/1.1\r\nHost: h\r\n\r\n")
    assert not (await conversation.rest()).endswith(CONTENT.encode())
