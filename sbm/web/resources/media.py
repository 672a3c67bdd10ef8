"""``/media``: the files of messages, without authentication; there is no list of them.

A client must know the name of a file, which cannot be guessed. A file never changes. The headers
tell browsers to trust our Content-Type, and to run nothing that is in the file.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from sbm.model.file_names import is_plain
from sbm.runtime.threads import in_thread, shielded
from sbm.web.http.flow import Flow
from sbm.web.http.http_errors import MethodNotAllowed, NotFound, Reason
from sbm.web.http.refused_requests import explain
from sbm.web.openapi.lists import NOT_FOUND, key
from sbm.web.openapi.parts import Operation, PathItem, Section, allow, no_content
from sbm.web.schema.json_schema import TEXT

# A thread reads so many bytes at once.
PIECE_BYTES = 2**17

METHODS = ("GET", "HEAD", "OPTIONS")

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_ETAG = re.compile(r'(?:W/)?("[^"]*")')

# A browser may show files of these types; it only saves all others.
_SHOWN = {
    ".aac": "audio/aac",
    ".amr": "audio/amr",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
_SAVED = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".pdf": "application/pdf",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webm": "video/webm",
    ".zip": "application/zip",
}
_UNKNOWN = "application/octet-stream"

_PROTECTION = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
# A link, a socket, or a name that is too long.
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG, errno.EISDIR)

_CACHING = "public, max-age=31536000, immutable"


@frozen(eq=False, kw_only=True)
class Media:
    """Serves the files directly in ``root``; without a root there are no files."""

    _reactor: Any
    _root: Path | None

    async def answer(self, request: Request, name: str) -> bytes:
        """Answer with the file of this name, or a part of it; raises NotFound, MethodNotAllowed."""
        request.setHeader(b"Allow", ", ".join(METHODS).encode("ascii"))
        method = request.method.decode("ascii", "replace")
        if method not in METHODS:
            raise MethodNotAllowed(method)
        if method == "OPTIONS":
            return b""
        if self._root is None or not is_plain(name) or request.path.endswith(b"/"):
            raise NotFound
        opening = self._in_thread(_open, self._root / name)
        try:
            file = await shielded(opening)
        except BaseException:
            opening.addCallback(_close)
            raise
        if file is None:
            raise NotFound
        reader = _FileReader(reactor=self._reactor, file=file)
        try:
            await self._send(request, method, name, file, reader)
        finally:
            reader.close()
        return b""

    async def _send(
        self, request: Request, method: str, name: str, file: _File, reader: _FileReader
    ) -> None:
        start, length = _head(request, method, name, file)
        if method == "HEAD" or not length:
            return
        flow = Flow()
        with flow.of(request):
            await reader.send(request, flow, start, length)

    def _in_thread(self, work: Any, *args: Any) -> Deferred[Any]:
        return in_thread(self._reactor, work, *args)


@frozen(kw_only=True)
class _File:
    """An open file."""

    descriptor: int
    size: int
    modified: int
    etag: str


@define(eq=False, slots=False, kw_only=True)
class _FileReader:
    """Reads a file in threads, no faster than the client takes it."""

    _reactor: Any
    _file: _File
    _reading: Deferred[bytes] | None = field(default=None, init=False)

    async def send(self, request: Any, flow: Flow, start: int, length: int) -> None:
        """Write this part of the file to the request."""
        end = start + length
        while start < end:
            await flow.ready()
            count = min(PIECE_BYTES, end - start)
            self._reading = in_thread(self._reactor, os.pread, self._file.descriptor, count, start)
            piece = await shielded(self._reading)
            if not piece:  # truncated meanwhile: it is shorter than its Content-Length
                request.channel.abandon("file")
                return
            request.write(piece)
            start += len(piece)

    def close(self) -> None:
        """Close the file when no thread reads it any more."""
        if self._reading is None:
            os.close(self._file.descriptor)
        else:
            self._reading.addBoth(lambda _: os.close(self._file.descriptor))


def type_of(name: str) -> tuple[str, bool]:
    """The Content-Type for the extension of a name, and whether browsers may show the file."""
    extension = PurePosixPath(name).suffix.lower()
    if extension in _SHOWN:
        return _SHOWN[extension], True
    return _SAVED.get(extension, _UNKNOWN), False


def _head(request: Request, method: str, name: str, file: _File) -> tuple[int, int]:
    """Write status and headers; returns where to begin in the file, and how many bytes to send."""
    modified = formatdate(file.modified, usegmt=True)
    _set(request, {**_PROTECTION, "Cache-Control": _CACHING, "ETag": file.etag})
    _set(request, {"Last-Modified": modified, "Accept-Ranges": "bytes"})
    if _is_known(request, file):
        request.setResponseCode(304)
        return 0, 0
    content_type, is_shown = type_of(name)
    _set(request, {"Content-Type": content_type})
    if not is_shown:
        _set(request, {"Content-Disposition": "attachment"})
    part = _part(request, method, file, modified)
    if part is None:
        _set(request, {"Content-Length": str(file.size)})
        return 0, file.size
    start, length = part
    request.setResponseCode(206 if length else 416)
    if not length:
        explain(request, Reason(kind="range"))
    which = f"{start}-{start + length - 1}" if length else "*"
    _set(request, {"Content-Range": f"bytes {which}/{file.size}", "Content-Length": str(length)})
    return start, length


def _is_known(request: Request, file: _File) -> bool:
    """Whether the client already has the file."""
    known = request.getHeader("if-none-match")
    if known is not None:
        return known.strip() == "*" or file.etag in _ETAG.findall(known)
    since = request.getHeader("if-modified-since")
    if since is None:
        return False
    try:
        return file.modified <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False


def _part(request: Request, method: str, file: _File, modified: str) -> tuple[int, int] | None:
    """Start and length of the requested part; length 0: no such part; None: the whole file.

    A range that is not understood, or several ranges, mean the whole file.
    """
    match = _RANGE.fullmatch((request.getHeader("range") or "").strip())
    if method != "GET" or match is None or match.group(1, 2) == ("", ""):
        return None
    condition = request.getHeader("if-range")
    if condition is not None and condition.strip() not in (file.etag, modified):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(file.size - int(last), 0), file.size
    else:
        start, end = int(first), min(int(last) + 1 if last else file.size, file.size)
        if last and int(last) < start:
            return None
    return start, max(end - start, 0)


def _set(request: Request, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))


def _open(path: Path) -> _File | None:
    """Open a regular file: no link, no folder, no pipe. Runs in a thread."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError, PermissionError, UnicodeEncodeError):
        return None
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    return _File(descriptor=descriptor, size=found.st_size, modified=int(found.st_mtime), etag=etag)


def _close(file: _File | None) -> None:
    if file is not None:
        os.close(file.descriptor)


_WHOLE = {
    "description": "The file.",
    "headers": allow(),
    "content": {"*/*": {"schema": TEXT | {"format": "binary"}}},
}

SECTION = Section(
    paths=[
        PathItem(
            path="/media/{name}",
            tag="Files",
            needs_user=False,
            is_api=False,
            parameters=key("name", TEXT, "The name of the file."),
            operations={
                "GET": Operation(
                    name="fetch_file",
                    summary="Fetch a file, or a range of it",
                    description="Browsers show images and sound, and save all other files. Files"
                    " never change, and can be cached.",
                    answers={
                        200: _WHOLE,
                        206: {**_WHOLE, "description": "The requested part of the file."},
                        304: no_content("The client already has this version."),
                        **NOT_FOUND,
                        416: no_content("The file ends before the range begins."),
                    },
                )
            },
        )
    ]
)
