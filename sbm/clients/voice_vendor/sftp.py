"""The voice vendor's folder of audio files, which is written by SFTP.

A file is written as ``<name>.part``, and is renamed to ``<name>`` when it is complete. An existing
part is continued, even if another daemon began it.
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
from twisted.internet.endpoints import HostnameEndpoint

from sbm.clients.http_agent import QuietFactory
from sbm.clients.outcomes import Rejected, Unavailable
from sbm.clients.voice_vendor.ssh import NoSuchFile, Sftp, Ssh
from sbm.settings.endpoints import VoiceVendorAddress

# Every server accepts requests of this size.
BLOCK_BYTES = 2**15
# How many blocks are sent before the first is confirmed. If a connection is lost, any of them may
# be missing at the end of the part.
BLOCKS_AHEAD = 16
WINDOW_BYTES = BLOCKS_AHEAD * BLOCK_BYTES
# How much is read from the disk at once.
PIECE_BYTES = 4 * BLOCK_BYTES

# The longest list of a folder that is read to its end, in files and in parts.
MOST_FILES = 1_000_000
MOST_PARTS = 100_000

# The largest size that is believed.
LARGEST = 2**63 - 1

PART = ".part"

_POSIX_RENAME = b"posix-rename@openssh.com"

_ABANDONED = "the daemon ended the connection"

T = TypeVar("T")

# Called with an offset and a number of bytes; returns fewer bytes at the end of the file.
Read = Callable[[int, int], Awaitable[bytes]]


def _ignore_refusal(_limit: str) -> None:
    """Do not count."""


@define(eq=False, slots=False, kw_only=True)
class VoiceVendor:
    """One connection to the voice vendor's server, made by ``connect``.

    All methods that wait raise Unavailable, after which there is no connection, or Rejected. Each
    step may take ``timeout``: connecting, authenticating, and each answer. ``refused`` is called
    with the limit that the server has exceeded.
    """

    _reactor: Any
    _address: VoiceVendorAddress
    _timeout: timedelta
    _refused: Callable[[str], None] = _ignore_refusal
    _connecting: Deferred[Any] | None = field(default=None, init=False)
    _ssh: Ssh | None = field(default=None, init=False)
    _sftp: Sftp | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The URL of the folder, for people."""
        address = self._address
        return f"sftp://{address.user}@{address.host}:{address.port}/{address.root.lstrip('/')}"

    async def connect(self) -> None:
        """Connect and authenticate, unless there is a connection."""
        if self._sftp is not None and self._ssh is not None and self._ssh.is_open:
            return
        seconds = self._timeout.total_seconds()
        opened: Deferred[Sftp] = Deferred()
        self._ssh, self._sftp = Ssh(self._address, opened, self._refused), None
        endpoint = HostnameEndpoint(
            self._reactor, self._address.host, self._address.port, timeout=seconds
        )
        try:
            ssh: Any = self._ssh
            self._connecting = endpoint.connect(QuietFactory.forProtocol(lambda: ssh))
            await self._connecting
            self._connecting = opened.addTimeout(seconds, self._reactor)
            self._sftp = await opened
        except (Unavailable, Rejected):
            raise
        except Exception as error:
            self._ssh.abort(Unavailable(_ABANDONED))
            what = str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                what = f"no SFTP session within {seconds:g} s"
            elif isinstance(error, CancelledError):
                what = _ABANDONED
            raise Unavailable(f"the voice vendor cannot be reached: {what}") from error
        finally:
            self._connecting = None

    def abandon(self) -> None:
        """Abort the connection; work in progress then fails with Unavailable."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._ssh is not None:
            self._ssh.abort(Unavailable(_ABANDONED))

    def close(self) -> None:
        """Close the connection when no work is in progress."""
        if self._ssh is not None:
            self._ssh.end()

    async def list_sizes(self) -> AsyncGenerator[dict[str, int], None]:
        """The sizes of the files in the folder by name, in batches; names must be UTF-8."""
        try:
            folder = await self._answer(self._open.openDirectory(self._path("")))
        except NoSuchFile:
            raise Rejected(
                f"the voice vendor has no folder {self._address.root!r} for us (AUDIO_FTP_ROOT)"
            ) from None
        files = 0
        for _ in range(MOST_PARTS):
            try:
                entries = await self._answer(folder.read())
            except EOFError:
                break
            files += len(entries)
            if files > MOST_FILES:
                self._refused("rows")
                raise Rejected(f"the voice vendor's folder has more than {MOST_FILES} files")
            sizes = {}
            for name, _, attributes in entries:
                with suppress(UnicodeDecodeError):
                    if attributes.get("size", LARGEST + 1) <= LARGEST and b"\0" not in name:
                        sizes[name.decode("utf-8")] = attributes["size"]
            yield sizes
        else:
            self._refused("pages")
            raise Rejected("the list of the voice vendor's folder has no end")
        await self._answer(folder.close())

    async def put(
        self, name: str, size: int, read: Read, moved: Callable[[int], Awaitable[None]]
    ) -> bool:
        """Copy this file; returns False if it was there already, with the same size.

        ``moved`` is called with the number of bytes after each block. If the connection is lost,
        the part is kept for the next try. If the file is refused, here or there, the part is
        removed: its bytes may be those of another file, or it may fill the vendor's disk.
        """
        final, part = self._path(name), self._path(name + PART)
        there, begun = await self._sizes(final, part)
        if there == size:
            return False
        offset = 0
        if begun is not None and begun <= size:
            # There may be gaps before its end, because blocks can overtake each other.
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
        """Write all bytes from an offset on to the part."""
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
            raise Rejected(f"the copy has {found} bytes instead of {size}")

    async def _write(
        self,
        file: Any,
        offset: int,
        size: int,
        read: Read,
        moved: Callable[[int], Awaitable[None]],
    ) -> None:
        """Write from an offset to the end, with BLOCKS_AHEAD blocks unconfirmed at most."""
        ahead: deque[tuple[int, Deferred[Any]]] = deque()

        async def answered() -> None:
            count, request = ahead.popleft()
            await self._answer(request)
            await moved(count)

        try:
            while offset < size:
                piece = await read(offset, min(PIECE_BYTES, size - offset))
                if not piece:
                    raise Rejected("our file became shorter while it was copied")
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
        """Rename a complete part; a file with that name and another size is replaced."""
        if _POSIX_RENAME in self._open.extensions:
            await self._answer(self._open.extendedRequest(_POSIX_RENAME, NS(part) + NS(final)))
            return
        if replacing:
            await self._answer(self._open.removeFile(final))
        await self._answer(self._open.renameFile(part, final))

    async def _sizes(self, *paths: bytes) -> list[int | None]:
        """The sizes of these files, requested together; None if there is no such file."""
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
        """The SFTP client that ``connect`` made; raises Unavailable if its connection was lost."""
        if self._sftp is None or self._ssh is None or not self._ssh.is_open:
            raise Unavailable("the connection to the voice vendor was lost")
        return self._sftp

    async def _answer(self, request: Deferred[T]) -> T:
        """The answer to a request; if it does not come in time, the connection is aborted."""
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
    """Ignore the failure: another request has reported it."""
