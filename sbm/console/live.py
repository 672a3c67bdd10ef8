"""Live parts of pages: they are made once a second at most, however many people look at them.

A browser asks for the stream of a part, and gets the part again whenever it has changed. If there
are too many streams, it gets the part alone, and asks again after some seconds: the element says
``hx-trigger="load, every 15s"``, and does nothing while its stream is open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from sbm.console import cookies
from sbm.console.reading_turns import ReadingTurns
from sbm.console.rendering import Renderer
from sbm.console.visit import View, Visit
from sbm.model.user import PERMISSIONS, User
from sbm.runtime.loop import Loop
from sbm.runtime.places import Places
from sbm.runtime.threads import shielded
from sbm.store import console_sessions
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.web.http.http_errors import Forbidden, NotFound

# How many streams one process has, and one session.
MOST_STREAMS = 50
MOST_OF_SESSION = 5

# A part is not made again before, though there may be changes; and it is after, though no change is
# known: another daemon may have made one.
SECONDS = 1.0
AT_LATEST = 5.0

# How often a stream says that it lives, and it is looked whether its session does.
BEAT_SECONDS = 15.0

# Then a stream ends, and the browser asks for another one. An answer that takes longer than
# Limits.answer_seconds is cut off, and counted as such.
LONGEST_SECONDS = 600.0

_MAX_KEY = 40


@frozen(eq=False, kw_only=True)
class LivePart:
    """A part of a page: its template, and the values in it, for a key such as the id of a tick.

    The values are those that anybody with the same language and permissions would see.
    """

    template: str
    values: Callable[[Visit, str], Awaitable[Mapping[str, Any]]]
    permission: str | None = None


@frozen(kw_only=True)
class _Seen:
    """A part as some readers see it: those with this language and these permissions."""

    name: str
    key: str
    language: str
    permissions: frozenset[str]


@define(eq=False, kw_only=True)
class _MadePart:
    """A part as it was made, with the sign before that, and the streams of whoever looks at it."""

    visit: Visit
    html: str = ""
    at: float = float("-inf")
    sign: float | None = None
    lock: Places = field(factory=lambda: Places(1))
    streams: set[LiveStream] = field(factory=set)


@implementer(IPushProducer)
@define(eq=False, kw_only=True)
class LiveStream:
    """One browser that listens. If it does not read, it misses parts, and gets the latest later."""

    request: Request
    session: str
    session_id: int
    permissions: frozenset[str]
    began_at: float
    beat_at: float
    sent: str = ""
    ended: Deferred[None] = field(factory=Deferred)
    _is_paused: bool = False

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False

    def stopProducing(self) -> None:
        self.end()

    @property
    def is_left(self) -> bool:
        """Whether the browser has gone, though its connection can still be written to."""
        channel: Any = self.request.channel
        return channel is None or bool(channel.is_left)

    def send(self, html: str) -> None:
        """Send a part, unless the browser has it, or does not read."""
        if self._is_paused or html == self.sent:
            return
        self.sent = html
        lines = "".join(f"data: {line}\n" for line in html.splitlines())
        self.request.write(f"{lines}\n".encode())

    def beat(self) -> None:
        """Say that the stream lives, in a comment."""
        if not self._is_paused:
            self.request.write(b": live\n\n")

    def end(self) -> None:
        """The stream has ended."""
        if not self.ended.called:
            self.ended.callback(None)


@define(eq=False, slots=False, kw_only=True)
class LiveParts(Service):
    """The live parts by their names, and all streams of this process.

    ``signs`` returns a number that changes whenever something has changed, as far as this process
    knows.
    """

    _reactor: Any
    _database: Database
    _renderer: Renderer
    _parts: Mapping[str, LivePart]
    _signs: Callable[[], float]
    _log: Logger = field(factory=Logger)

    def __attrs_post_init__(self) -> None:
        # Not those of the pages: a part is for many readers, and waits for no page of one of them.
        self._turns = ReadingTurns(most=1)
        self._made: dict[_Seen, _MadePart] = {}
        self._loop = Loop(
            reactor=self._reactor, name="live parts", one_pass=self._one_pass, rest=SECONDS
        )

    def startService(self) -> None:
        Service.startService(self)
        self._loop.startService()

    async def _stop(self) -> None:
        for stream in self._streams():
            stream.end()
        stopped = self._loop.stopService()
        if stopped is not None:
            await stopped

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def answer(self, visit: Visit, name: str) -> View:
        """A stream of a part; the part alone if that is wanted, or there are too many streams."""
        part, key = self._parts.get(name), visit.query.get("key", "")
        if part is None or len(key) > _MAX_KEY:
            raise NotFound
        if part.permission is not None and not visit.user.may(part.permission):
            raise Forbidden(part.permission)
        seen = _Seen(
            name=name,
            key=key,
            language=visit.language,
            permissions=_permissions(visit.user),
        )
        visit = evolve(visit, turns=self._turns)
        html = await self._html(seen, visit)
        # HEAD would hold a place among the streams, and get nothing.
        accepts = visit.request.getHeader("accept") or ""
        wants_stream = "text/event-stream" in accepts and visit.request.method == b"GET"
        if not (wants_stream and self.running and self._has_room(visit.session.id)):
            self._forget()
            return View(
                raw=html.encode("utf-8"), headers={"Content-Type": "text/html; charset=utf-8"}
            )
        return View(
            stream=partial(self._stream, visit, seen, html),
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"},
        )

    def _has_room(self, session_id: int) -> bool:
        streams = self._streams()
        own = sum(stream.session_id == session_id for stream in streams)
        return len(streams) < MOST_STREAMS and own < MOST_OF_SESSION

    def _streams(self) -> list[LiveStream]:
        return [stream for made in self._made.values() for stream in made.streams]

    async def _stream(self, visit: Visit, seen: _Seen, html: str, request: Request) -> None:
        """Write parts until the browser, the session or the daemon ends, or for LONGEST_SECONDS."""
        now = self._reactor.seconds()
        stream = LiveStream(
            request=request,
            session=cookies.session_of(visit.request, visit.origin) or "",
            session_id=visit.session.id,
            permissions=seen.permissions,
            began_at=now,
            beat_at=now,
        )
        request.notifyFinish().addErrback(lambda _: stream.end())
        request.registerProducer(stream, True)
        made = self._made.setdefault(seen, _MadePart(visit=visit, html=html))
        made.streams.add(stream)
        try:
            stream.send(html)
            await stream.ended
        finally:
            made.streams.discard(stream)
            self._forget()
            request.unregisterProducer()

    def _forget(self) -> None:
        """Keep only what somebody looks at, or what is so new that others may ask for it, too."""
        now = self._reactor.seconds()
        for one, made in list(self._made.items()):
            if not made.streams and made.lock.tokens and made.at <= now - SECONDS:
                del self._made[one]

    async def _html(self, seen: _Seen, visit: Visit) -> str:
        """The part, at most a second old; whoever asks meanwhile waits for the same work.

        It is made to the end even if its reader leaves.
        """
        return await shielded(Deferred.fromCoroutine(self._made_once(seen, visit)))

    async def _made_once(self, seen: _Seen, visit: Visit) -> str:
        made = self._made.setdefault(seen, _MadePart(visit=visit))
        await made.lock.acquire()
        try:
            if made.at <= self._reactor.seconds() - SECONDS:
                sign = self._signs()
                part = self._parts[seen.name]
                values = await part.values(made.visit, seen.key)
                shared = {"user": made.visit.user, "is_part": True, "secret": ""}
                made.html = self._renderer.render(
                    part.template, seen.language, {**shared, **values}
                )
                made.at, made.sign = self._reactor.seconds(), sign
            return made.html
        finally:
            made.lock.release()

    async def _one_pass(self) -> int:
        now = self._reactor.seconds()
        for seen, made in list(self._made.items()):
            if not made.streams:
                self._forget()
            elif made.sign != self._signs() or made.at <= now - AT_LATEST:
                await self._refresh(seen, made)
            # Also what was made for somebody who came, and what a browser did not read before.
            for stream in list(made.streams):
                stream.send(made.html)
        for stream in self._streams():
            if stream.is_left or stream.began_at <= now - LONGEST_SECONDS:
                stream.end()
            elif stream.beat_at <= now - BEAT_SECONDS:
                stream.beat_at = now
                await self._look_after(stream)
        return 0

    async def _refresh(self, seen: _Seen, made: _MadePart) -> None:
        try:
            await self._html(seen, made.visit)
        except DatabaseUnavailable:
            return  # the page says when it was made; it goes on by itself
        except Exception:
            self._log.failure("the live part {name} cannot be made", name=seen.name)
            for stream in list(made.streams):
                stream.end()

    async def _look_after(self, stream: LiveStream) -> None:
        """End a stream whose session has ended, or whose user may do something else now.

        Then the browser asks again, and gets what it may see.
        """
        try:
            session = await self._database.read(console_sessions.find, secret=stream.session)
        except DatabaseUnavailable:
            return
        if session is None or _permissions(session.user) != stream.permissions:
            stream.end()
        else:
            stream.beat()


def _permissions(user: User) -> frozenset[str]:
    return frozenset(filter(user.may, PERMISSIONS))
