"""The voice vendor: a folder of files, by SFTP.

A file is written under the name ``<name>.part``, and gets its own when it is whole. What is there
of it already is gone on with, whoever has begun it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from attrs import define, field
from twisted.conch.ssh import filetransfer
from twisted.conch.ssh.common import NS
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol

from sbm.clients.outcomes import Rejected, Unavailable
from sbm.clients.voice_vendor.ssh import NoSuchFile, Sftp, Ssh
from sbm.settings.endpoints import VoiceVendorAddress

# What every server takes in one request.
BLOCK_BYTES = 2**15
# So many blocks are on their way at once; all of them may be missing where a file breaks off.
BLOCKS_AHEAD = 16
WINDOW_BYTES = BLOCKS_AHEAD * BLOCK_BYTES
# So much is read from the disk at once.
PIECE_BYTES = 4 * BLOCK_BYTES

# No file is larger, whatever a server says.
LARGEST = 2**63 - 1

PART = ".part"

_POSIX_RENAME = b"posix-rename@openssh.com"

T = TypeVar("T")

# Reads so many bytes at an offset; fewer at the end of the file.
Read = Callable[[int, int], Awaitable[bytes]]


@define(eq=False, slots=False, kw_only=True)
class VoiceVendor:
    """One connection, made when it is wanted.

    Whatever it is asked raises Unavailable, after which there is no connection, or Rejected. Each
    step that is waited for may take ``timeout``: connecting, being let in, each answer.
    """

    _reactor: Any
    _address: VoiceVendorAddress
    _timeout: timedelta
    _connecting: Deferred[Any] | None = field(default=None, init=False)
    _ssh: Ssh | None = field(default=None, init=False)
    _sftp: Sftp | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Where it is, for people."""
        address = self._address
        return f"sftp://{address.user}@{address.host}:{address.port}/{address.root.lstrip('/')}"

    async def connect(self) -> None:
        """Have a connection, and be let in."""
        if self._sftp is not None and self._ssh is not None and self._ssh.is_open:
            return
        seconds = self._timeout.total_seconds()
        opened: Deferred[Sftp] = Deferred()
        self._ssh, self._sftp = Ssh(self._address, opened), None
        endpoint = HostnameEndpoint(
            self._reactor, self._address.host, self._address.port, timeout=seconds
        )
        try:
            self._connecting = connectProtocol(endpoint, self._ssh)
            await self._connecting
            self._connecting = opened.addTimeout(seconds, self._reactor)
            self._sftp = await opened
        except (Unavailable, Rejected):
            raise
        except Exception as error:
            self._ssh.abort(Unavailable("given up"))
            what = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                what = f"not let in within {seconds:g} s"
            elif isinstance(error, CancelledError):
                what = "given up"
            raise Unavailable(f"the voice vendor cannot be reached: {what}") from error
        finally:
            self._connecting = None

    def abandon(self) -> None:
        """Hang up in the middle of whatever is being done, which then fails with Unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._ssh is not None:
            self._ssh.abort(Unavailable("given up"))

    def close(self) -> None:
        """Hang up, now that nothing is being done."""
        if self._ssh is not None:
            self._ssh.end()

    async def list_sizes(self) -> AsyncGenerator[dict[str, int], None]:
        """What is in the folder, as far as its names are UTF-8: their sizes, some at a time."""
        try:
            folder = await self._answer(self._open.openDirectory(self._path("")))
        except NoSuchFile:
            raise Rejected(
                f"the voice vendor has no folder {self._address.root!r} for us (AUDIO_FTP_ROOT)"
            ) from None
        while True:
            try:
                entries = await self._answer(folder.read())
            except EOFError:
                break
            sizes = {}
            for name, _, attributes in entries:
                with suppress(UnicodeDecodeError):
                    if attributes.get("size", LARGEST + 1) <= LARGEST and b"\0" not in name:
                        sizes[name.decode("utf-8")] = attributes["size"]
            yield sizes
        await self._answer(folder.close())

    async def put(
        self, name: str, size: int, read: Read, moved: Callable[[int], Awaitable[None]]
    ) -> bool:
        """Have this file there, whole; False: it was. ``moved`` is told of bytes on their way.

        What was begun is left for the next try where the connection is lost, and removed where the
        file is refused, here or there: it may be of other bytes, or what fills the vendor's disk.
        """
        final, part = self._path(name), self._path(name + PART)
        there, begun = await self._sizes(final, part)
        if there == size:
            return False
        offset = 0
        if begun is not None and begun <= size:
            # Before its end there may be holes: blocks overtake each other, and get lost.
            offset = max(0, begun - WINDOW_BYTES)
        try:
            await self._fill(part, offset, size, read, moved)
        except Rejected:
            with suppress(Rejected):
                await self._answer(self._open.removeFile(part))
            raise
        await self._rename(part, final, replacing=there is not None)
        return True

    async def _fill(
        self,
        part: bytes,
        offset: int,
        size: int,
        read: Read,
        moved: Callable[[int], Awaitable[None]],
    ) -> None:
        """Have all bytes from an offset on there, under the name of what is begun."""
        flags = filetransfer.FXF_WRITE | filetransfer.FXF_CREAT
        if not offset:
            flags |= filetransfer.FXF_TRUNC
        file = await self._answer(self._open.openFile(part, flags, {}))
        try:
            await self._write(file, offset, size, read, moved)
        finally:
            if self._ssh is not None and self._ssh.is_open:
                await self._answer(file.close())
        (found,) = await self._sizes(part)
        if found != size:
            raise Rejected(f"of {size} bytes, {found} are there")

    async def _write(
        self,
        file: Any,
        offset: int,
        size: int,
        read: Read,
        moved: Callable[[int], Awaitable[None]],
    ) -> None:
        """Write from an offset to the end, some blocks ahead of the answers."""
        ahead: deque[tuple[int, Deferred[Any]]] = deque()

        async def answered() -> None:
            count, request = ahead.popleft()
            await self._answer(request)
            await moved(count)

        try:
            while offset < size:
                piece = await read(offset, min(PIECE_BYTES, size - offset))
                if not piece:
                    raise Rejected("the file here has become shorter")
                for start in range(0, len(piece), BLOCK_BYTES):
                    if len(ahead) == BLOCKS_AHEAD:
                        await answered()
                    block = piece[start : start + BLOCK_BYTES]
                    ahead.append((len(block), file.writeChunk(offset + start, block)))
                offset += len(piece)
            while ahead:
                await answered()
        finally:
            for _, request in ahead:
                request.addErrback(_forget)

    async def _rename(self, part: bytes, final: bytes, *, replacing: bool) -> None:
        """Give a whole file its name, which another one of another size may have."""
        if _POSIX_RENAME in self._open.extensions:
            await self._answer(self._open.extendedRequest(_POSIX_RENAME, NS(part) + NS(final)))
            return
        if replacing:
            await self._answer(self._open.removeFile(final))
        await self._answer(self._open.renameFile(part, final))

    async def _sizes(self, *paths: bytes) -> list[int | None]:
        """The sizes of these files, asked for together; None: there is no such file."""
        requests = [self._open.getAttrs(path, followLinks=1) for path in paths]
        sizes: list[int | None] = []
        try:
            for request in requests:
                try:
                    sizes.append((await self._answer(request)).get("size"))
                except NoSuchFile:
                    sizes.append(None)
        finally:
            for request in requests:
                request.addErrback(_forget)
        return sizes

    @property
    def _open(self) -> Any:
        """The connection, which ``connect`` has made; it may have been lost since."""
        if self._sftp is None or self._ssh is None or not self._ssh.is_open:
            raise Unavailable("the connection to the voice vendor was lost")
        return self._sftp

    async def _answer(self, request: Deferred[T]) -> T:
        """The answer to a request; who does not answer any more is hung up on."""
        seconds = self._timeout.total_seconds()
        try:
            return await request.addTimeout(seconds, self._reactor)
        except (TimeoutError, CancelledError):
            late = Unavailable(f"the voice vendor has not answered within {seconds:g} s")
            if self._ssh is not None:
                self._ssh.abort(late)
            raise late from None

    def _path(self, name: str) -> bytes:
        root = self._address.root
        path = f"{root.rstrip('/')}/{name}" if root else name
        return (path or ".").encode("utf-8", "surrogateescape")


def _forget(_failure: object) -> None:
    """The other ones have told of it."""
