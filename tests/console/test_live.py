"""Live parts: who gets them, when, and that they cost the same for one reader and for many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sbm.console import live
from sbm.console.console import Console
from sbm.web.http.connection_limits import Limits
from tests.arrange import Arranged
from tests.console.conftest import mounted
from tests.console.content import ADMIN
from tests.console.reader import begin_session
from tests.web.conftest import Api, served
from tests.web.sockets import RawConnection, connected

reactor: Any = global_reactor

STREAM = "text/event-stream"


@define(eq=False, kw_only=True)
class Listening:
    """A console whose live parts run; ``signs`` counts the changes that it knows of."""

    api: Api
    direct: Arranged
    console: Console
    signs: int = 0

    async def listens(
        self,
        part: str = "today",
        *,
        username: str = ADMIN,
        accept: str = STREAM,
        method: str = "GET",
    ) -> RawConnection:
        """Ask for a part as a browser does that has a session of its own."""
        secret = begin_session(self.direct, username)
        conversation = await connected(self.api)
        lines = [f"{method} /console/live/{part} HTTP/1.1", "Host: 127.0.0.1", f"Accept: {accept}"]
        lines += [f"Cookie: sbm-local={secret}", "", ""]
        conversation.send("\r\n".join(lines).encode("ascii"))
        await conversation.until(b"\r\n\r\n")
        return conversation


@pytest_twisted.async_yield_fixture
async def listening(
    database_uri: str, tmp_path: Path, direct: Arranged, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Listening]:
    monkeypatch.setattr(live, "SECONDS", 0.05)
    found: list[Any] = []

    def mount(database: Any, passwords: Any) -> Console:
        made = mounted(database, passwords, signs=lambda: found[-1].signs if found else 0)
        found.append(made)
        return made

    async with served(database_uri, tmp_path, mount=mount) as api:
        made = found.pop()
        listening = Listening(api=api, direct=direct, console=made)
        found.append(listening)
        made.live.startService()
        yield listening
        await made.live.stopService()


@ensureDeferred
async def test_a_stream_has_the_part_at_once_and_when_it_has_changed(listening: Listening) -> None:
    conversation = await listening.listens()
    await conversation.until(b"\n\n")
    assert b"Content-Type: text/event-stream" in conversation.received
    assert b"data: " in conversation.received
    before = conversation.received.count(b"As of")
    listening.signs += 1
    while conversation.received.count(b"As of") == before:
        await deferLater(reactor, 0.02)
    conversation.hang_up()
    while listening.console.live._streams():
        await deferLater(reactor, 0.02)


@ensureDeferred
async def test_a_part_is_made_once_for_all_who_look_at_it(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "AT_LATEST", 600.0)  # only because of the change
    part = listening.console.live._parts["today"]
    made: list[str] = []

    async def counted(visit: Any, key: str) -> Any:
        made.append(key)
        return await part.values(visit, key)

    monkeypatch.setitem(
        listening.console.live._parts,
        "today",
        live.LivePart(template=part.template, values=counted),
    )
    conversations = [await listening.listens() for _ in range(5)]
    before = len(made)
    listening.signs += 1
    while len(made) == before:
        await deferLater(reactor, 0.02)
    await deferLater(reactor, 0.2)
    assert len(made) == before + 1
    for one in conversations:
        assert one.received.count(b"As of") == conversations[0].received.count(b"As of")
        one.hang_up()


@ensureDeferred
async def test_a_change_just_after_a_part_was_made_is_shown(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "AT_LATEST", 600.0)
    monkeypatch.setattr(live, "SECONDS", 1.0)  # the loop looks more often
    conversation = await listening.listens("operations")
    listening.signs += 1
    await conversation.until(b"As of", times=2)


@ensureDeferred
async def test_a_browser_that_did_not_read_gets_the_latest_afterwards(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "AT_LATEST", 600.0)
    conversation = await listening.listens("operations")
    await conversation.until(b"\n\n")
    (stream,), (made,) = listening.console.live._streams(), listening.console.live._made.values()
    stream.pauseProducing()
    listening.signs += 1
    while made.sign != listening.signs:
        await deferLater(reactor, 0.02)
    assert conversation.received.count(b"As of") == 1
    stream.resumeProducing()
    await conversation.until(b"As of", times=2)


@ensureDeferred
async def test_a_part_waits_for_no_page(listening: Listening) -> None:
    """Its first reader may have slow pages, and others may have all turns."""
    turns, slow = listening.console.pages.turns, Deferred[None]()
    reads = [Deferred.fromCoroutine(turns.read(one, lambda: slow)) for one in range(50)]
    conversation = await listening.listens("operations")
    await conversation.until(b"As of")
    slow.callback(None)
    await gatherResults(reads)


@ensureDeferred
async def test_whoever_does_not_want_a_stream_gets_the_part_alone(listening: Listening) -> None:
    conversation = await listening.listens(accept="text/html")
    assert b"Content-Type: text/html; charset=utf-8" in conversation.received
    await conversation.until(b"As of")
    assert listening.console.live._streams() == []


@ensureDeferred
async def test_beyond_the_most_streams_a_browser_asks_again_later(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 2)
    streams = [await listening.listens() for _ in range(2)]
    third = await listening.listens()
    assert b"text/html" in third.received
    streams[0].hang_up()
    while len(listening.console.live._streams()) > 1:
        await deferLater(reactor, 0.02)
    fourth = await listening.listens()
    assert b"text/event-stream" in fourth.received


@ensureDeferred
async def test_a_stream_ends_with_its_session(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    conversation = await listening.listens()
    await conversation.until(b": live\n\n")
    listening.direct.rows("DELETE FROM console_sessions")
    while listening.console.live._streams():
        await deferLater(reactor, 0.02)


@ensureDeferred
async def test_a_stream_ends_when_its_user_may_do_less(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    conversation = await listening.listens()
    await conversation.until(b": live\n\n")
    listening.direct.rows("UPDATE users SET is_admin = false, is_limited = true")
    while listening.console.live._streams():
        await deferLater(reactor, 0.02)


@ensureDeferred
async def test_a_stream_ends_when_its_browser_has_closed_its_side(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing needs to be written before."""
    monkeypatch.setattr(live, "AT_LATEST", 600.0)
    conversation = await listening.listens()
    await conversation.until(b"\n\n")
    conversation.send_no_more()
    while listening.console.live._streams():
        await deferLater(reactor, 0.02)


@ensureDeferred
async def test_a_stream_ends_by_itself_before_its_connection_is_cut_off(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Limits().answer_seconds > live.LONGEST_SECONDS + live.BEAT_SECONDS
    monkeypatch.setattr(live, "LONGEST_SECONDS", 0.1)
    conversation = await listening.listens()
    assert (await conversation.until(b"\r\n0\r\n\r\n")).endswith(b"\r\n0\r\n\r\n")
    assert not conversation.is_over


@ensureDeferred
async def test_streams_end_when_the_daemon_stops(listening: Listening) -> None:
    conversation = await listening.listens()
    await conversation.until(b"\n\n")
    await listening.console.live.stopService()
    assert listening.console.live._streams() == []
    late = await listening.listens()
    assert b"text/html" in late.received


@ensureDeferred
async def test_head_gets_no_stream(listening: Listening) -> None:
    conversation = await listening.listens(method="HEAD")
    assert conversation.received.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Type: text/html" in conversation.received
    assert listening.console.live._streams() == []


@pytest.mark.parametrize("part", ["nothing", "tick?key=999", "tick?key=x", f"today?key={'x' * 99}"])
@ensureDeferred
async def test_what_there_is_not_is_not_found(listening: Listening, part: str) -> None:
    conversation = await listening.listens(part)
    assert conversation.received.startswith(b"HTTP/1.1 404 ")
