"""Requests as they come from the socket, before they are parsed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from ipaddress import IPv6Network
from tempfile import SpooledTemporaryFile
from typing import Any

from attrs import define
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.web.server import Request, Site

from sbm.web.http.authors import REQUEST_ID_HEADER, request_id_of
from sbm.web.http.body_limits import USUAL_BYTES, BodyLimits, check_chunks
from sbm.web.http.channel import BoundedChannel
from sbm.web.http.connection_limits import Limits, Phase
from sbm.web.http.crowd import Crowd, Full
from sbm.web.http.held_channel import Dropping
from sbm.web.http.http_errors import NotStored, Reason
from sbm.web.http.origin import Proxies, parsed_address
from sbm.web.http.overload import LateRefusals, Overloaded
from sbm.web.http.reading_lanes import ReadingLanes
from sbm.web.http.refused_requests import Refusals
from sbm.web.http.targets import plain_target
from sbm.web.http.uploads import Upload, Uploads

# A body of up to so many bytes is kept in memory; a longer one in a file without a name.
IN_MEMORY_BYTES = 2**16


# These bytes, if they were encoded, become one that is in no path.
_IN_NO_PATH = bytes.maketrans(b"\n/", b"\xff\xff")


class BoundedRequest(Request):
    """A request that stores only as much of its body as is allowed, and does not parse it.

    ``request_id`` is the client's X-Request-ID, or made here; answers and log lines have it.
    ``upload`` takes the body if the request uploads a file. ``reason`` says why the request is
    refused. A refused request is answered before its whole body has come; the rest is dropped.
    """

    channel: Any
    content: Any
    body_size = 0
    body_limit = USUAL_BYTES
    upload: Upload | None = None
    request_id = ""
    is_waiting = False
    reason = Reason()
    _chunks = 0
    _is_chunked = False
    _is_unwelcome = False

    def __init__(self, channel: Any, queued: Any = False) -> None:
        del queued  # old callers of Twisted give it; it has no effect
        super().__init__(channel, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]

    @property
    def is_too_large(self) -> bool:
        return self.body_size > self.body_limit

    @property
    def is_refused(self) -> bool:
        """Whether the request is refused already, so that its body is not needed."""
        in_upload = self.upload is not None and self.upload.error is not None
        return self.is_too_large or self._is_unwelcome or in_upload

    def getHeader(self, key: Any) -> Any:
        """The value of a header; bytes that are not UTF-8 are replaced, so this never fails."""
        if isinstance(key, str):
            value = super().getHeader(key.encode("ascii"))
            return None if value is None else value.decode("utf-8", "replace")
        return super().getHeader(key)

    def gotLength(self, length: int | None) -> None:
        if length == 0:
            self.content = BytesIO()
            return
        self._is_chunked = length is None
        site = self.channel.site
        self.body_limit = site.body_limits.of(plain_target(*self.channel.target))
        uploads = site.uploads
        if uploads is not None:
            self._begin_upload(uploads)
        if length is not None and length > self.body_limit:
            self.body_size = length
        # Twisted closes it after the answer, or when the client has gone.
        if length is not None and length <= IN_MEMORY_BYTES:
            self.content = BytesIO()
        else:
            self.content = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115

    def handleContentChunk(self, data: bytes) -> None:
        # It is called for each chunk, and there may be thousands of chunks: so it does little.
        self.body_size += len(data)
        if self._is_chunked:
            self._chunks += 1
            check_chunks(self._chunks, self.body_size)
        if self.body_size > self.body_limit or self._is_unwelcome:
            return
        if self.upload is not None:
            self.upload.feed(data)
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Reduce the target to path and query: it may be a whole URL, or have a fragment."""
        target = plain_target(command, path)
        self.request_id = request_id_of(self)
        self.setHeader(REQUEST_ID_HEADER, self.request_id)  # type: ignore[no-untyped-call]
        super().requestReceived(command, target, version)  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Finish the answer, and count it if the request was refused or has changed nothing."""
        refusals = self.channel.site.refusals
        if self.code >= 400:
            refusals.refused(self.path, self.code, self.reason, request_id=self.request_id)
        elif self.reason.kind:
            refusals.not_done(self.path, self.reason)
        super().finish()  # type: ignore[no-untyped-call]

    def _begin_upload(self, uploads: Uploads) -> None:
        channel = self.channel
        self.upload = uploads.begin(self, *channel.target)
        if self.upload is None:
            return
        self.body_limit = uploads.body_limit
        temporary = self.upload.temporary
        temporary.hold = lambda: channel.hold(temporary)
        temporary.release = lambda: channel.release(temporary)
        self.notifyFinish().addBoth(lambda _: self._end_upload())
        self.is_waiting = True
        channel.hold(self)
        Deferred.fromCoroutine(self._admit(self.upload, channel))

    async def _admit(self, upload: Upload, channel: BoundedChannel) -> None:
        """Read the body if the user is known; otherwise answer at once."""
        admitted = await upload.admits(self)
        self.is_waiting = False
        if not admitted:
            self._is_unwelcome = True
            upload.fail(NotStored())
        channel.release(self)
        if admitted:
            channel.send_owed_continue()
        elif channel.phase is Phase.BODY and channel.requests[-1] is self:
            channel.answer_now()

    def _end_upload(self) -> None:
        if self.upload is not None:
            self.upload.discard()
            self.upload.temporary.let_go()


class BoundedSite(Site):
    """A site with limits, and without an access log, which would double the cost of a request."""

    displayTracebacks = False
    protocol: Any = BoundedChannel

    def __init__(
        self,
        resource: Any,
        reactor: Any,
        *,
        limits: Limits | None = None,
        uploads: Uploads | None = None,
        refusals: Refusals | None = None,
        body_limits: BodyLimits | None = None,
        proxies: Proxies | None = None,
        knows: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, requestFactory=BoundedRequest, timeout=None, reactor=reactor
        )
        self.limits = limits or Limits()
        self.uploads = uploads
        self.refusals = refusals or Refusals(reactor=reactor)
        self.body_limits = body_limits or BodyLimits()
        self.proxies = proxies or Proxies()
        self.lanes = ReadingLanes(reactor=reactor, knows=knows)
        self.dropping = Dropping(reactor=reactor)
        self.late_refusals = LateRefusals(reactor=reactor)
        self._crowd = Crowd(reactor=reactor, limits=self.limits, knows=self.lanes.knows)
        self._empty: Deferred[None] = succeed(None)

    def buildProtocol(self, addr: Any) -> Any:
        """A channel; if there are too many, the one that has waited longest is closed.

        If all are busy, it is one of the spare ones; if these are busy, too, it is Overloaded.
        """
        host = self._client(addr)
        address = _counted(host)
        try:
            crowded = self._crowd.make_room(host, address)
        except Full as full:
            return Overloaded(self, addr, str(full))
        return self._admit(addr, host, address, crowded)

    def admit_late(self, addr: Any, crowded: str, *, is_probe: bool) -> BoundedChannel | None:
        """A channel for a connection that was too many, if there is a place for it now.

        A probe gets one in any case, up to a limit of its own. ``crowded`` is the limit that was
        reached.
        """
        host = self._client(addr)
        address = _counted(host)
        if self._crowd.has_place(host, address):
            return self._admit(addr, host, address, "")
        if is_probe and self._crowd.has_room_for_probe():
            return self._admit(addr, host, address, crowded)
        return None

    def _admit(self, addr: Any, host: str, address: str, crowded: str) -> BoundedChannel:
        channel: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        channel.limits = self.limits
        channel.since = self.reactor.seconds()
        channel.crowded, channel.address, channel.host = crowded, address, host
        self._crowd.add(channel)
        return channel  # type: ignore[no-any-return]

    def _client(self, addr: Any) -> str:
        """The address of a client; empty for a proxy, and for a Unix socket."""
        host = str(getattr(addr, "host", "") or "")
        return "" if self.proxies.trusts(host) else _written(host)

    def forget(self, channel: BoundedChannel) -> None:
        """Remove a closed channel."""
        self._crowd.forget(channel)
        if not self._crowd and not self._empty.called:
            self.refusals.flush()
            self._empty.callback(None)

    def emptied(self) -> Deferred[None]:
        """Fires when the last connection is closed; the limits of connections bound the time."""
        self._empty = Deferred() if self._crowd else succeed(None)
        return self._empty

    def startFactory(self) -> None:
        super().startFactory()
        if self.uploads is not None:
            self.uploads.start()

    def stopFactory(self) -> None:
        super().stopFactory()
        self.late_refusals.refuse_all()
        self.refusals.flush()
        for channel in self._crowd.all:
            channel.retire()

    def acceptableProtocols(self) -> list[bytes]:
        """Only HTTP/1.1: the limits are made for it."""
        return [b"http/1.1"]

    def getResourceFor(self, request: Any) -> Any:
        """Find the resource.

        Bytes of a path that are not UTF-8 match no path, and an encoded slash divides no parts.
        """
        request.postpath = [
            part.translate(_IN_NO_PATH).decode("utf-8", "replace").encode("utf-8")
            for part in request.postpath
        ]
        return super().getResourceFor(request)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        """Write no access log."""


@lru_cache(maxsize=4096)
def _written(host: str) -> str:
    """The usual spelling of an address; empty if it is none."""
    return str(parsed_address(host) or "")


@lru_cache(maxsize=4096)
def _counted(address: str) -> str:
    """What counts as the address: whoever has one of IPv6 has a whole network of them."""
    if ":" not in address:
        return address
    return str(IPv6Network((address, 64), strict=False))


@define(eq=False, slots=False)
class RequestDrain(Service):
    """When it stops, it waits until all requests that came before are answered."""

    _site: BoundedSite

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._site.emptied()
