"""Uploads: multipart bodies whose file is written to disk while they arrive."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from attrs import define, field, frozen
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request

from sbm.model.echo import echoed
from sbm.operations.media_files import delete_abandoned
from sbm.runtime.threads import in_thread, shielded
from sbm.store.postgres.errors import CommitUnknown
from sbm.web.http.authentication import Authentication
from sbm.web.http.bodies import MULTIPART, Body, charset_of
from sbm.web.http.http_errors import Malformed, TooLarge
from sbm.web.http.needs import Needs
from sbm.web.http.temporary_files import TemporaryFile

# The limit for the texts besides the file.
MAX_TEXT_BYTES = 2**20
MAX_PARTS = 100

_log = Logger()

Result = TypeVar("Result")


@frozen(kw_only=True)
class UploadPlace:
    """A path to which files are uploaded, in this ``part`` of a multipart form.

    ``admit`` raises an error if the user of a request may not upload. The request fails in the same
    way later, and is answered then.
    """

    path: re.Pattern[str]
    part: str
    admit: Callable[[Request], Awaitable[None]]


def place_of_api(
    *, path: re.Pattern[str], part: str, authentication: Authentication, needs: Needs
) -> UploadPlace:
    """A path of the API: the user has a token or a password, and the permission of the path."""

    async def admit(request: Request) -> None:
        user = await authentication.user_of(request)
        needs.check(user, request.method.decode("ascii", "replace"))

    return UploadPlace(path=path, part=part, admit=admit)


@frozen(eq=False, kw_only=True)
class Uploads:
    """Takes the multipart bodies of some paths, and writes their files into ``folder``.

    ``limit`` is the largest file, in bytes.
    """

    reactor: Any
    folder: Path
    limit: int
    places: Sequence[UploadPlace]

    @property
    def body_limit(self) -> int:
        """The largest body, in bytes: a file, and the form around it."""
        return self.limit + MAX_TEXT_BYTES

    def begin(self, request: Request, method: bytes, target: bytes) -> Upload | None:
        """The Upload for a request whose headers were read; None if it is not an upload."""
        path = unquote(target.partition(b"?")[0].decode("ascii", "replace"))
        kind, options = parse_options_header(request.getHeader("content-type") or "")
        boundary = options.get("boundary", "")
        if method not in (b"POST", b"PUT", b"PATCH") or kind != MULTIPART or not boundary:
            return None
        place = next((one for one in self.places if one.path.fullmatch(path)), None)
        if place is None:
            return None
        temporary = TemporaryFile(reactor=self.reactor, folder=self.folder)
        return Upload(
            boundary=boundary,
            charset=charset_of(options),
            place=place,
            limit=self.limit,
            temporary=temporary,
        )

    def start(self) -> None:
        """Remove the temporary files that a crash has left."""
        cleaned = in_thread(self.reactor, delete_abandoned, self.folder)
        cleaned.addErrback(
            lambda failure: _log.failure("old temporary files could not be deleted", failure)
        )


@frozen(kw_only=True)
class StoredFile:
    """An uploaded file, in a temporary file."""

    name: str
    size: int
    temporary: TemporaryFile


async def publish_with(
    file: StoredFile, name: str, record: Callable[[], Awaitable[Result]]
) -> Result:
    """Give a file its name and record it; if it is not recorded, it is removed again.

    It goes on even if the client closes the connection. Raises NotStored, or the errors of
    ``record``.
    """
    return await shielded(Deferred.fromCoroutine(_publish_with(file, name, record)))


async def _publish_with(
    file: StoredFile, name: str, record: Callable[[], Awaitable[Result]]
) -> Result:
    await file.temporary.publish(name)
    try:
        return await record()
    except CommitUnknown:
        raise  # the row may be committed, and then it needs its file
    except Exception:
        await file.temporary.unpublish(name)
        raise


@define(eq=False, slots=False, kw_only=True)
class Upload:
    """A multipart body as it arrives: texts are kept, and one file is written to disk.

    After an error, the rest is dropped; the error is raised at the end.
    """

    _boundary: str
    _charset: str
    _place: UploadPlace
    limit: int
    temporary: TemporaryFile
    error: Exception | None = field(default=None, init=False)
    _fields: dict[str, Any] = field(factory=dict, init=False)
    _segment: MultipartSegment | None = field(default=None, init=False)
    _text: bytearray = field(factory=bytearray, init=False)
    _text_bytes: int = field(default=0, init=False)
    _parser: Any = field(default=None, init=False)

    @property
    def is_too_large(self) -> bool:
        return isinstance(self.error, TooLarge)

    async def admits(self, request: Request) -> bool:
        """Whether the user of this request may upload; the bodies of others are dropped."""
        try:
            await self._place.admit(request)
        except Exception:
            return False
        return True

    def feed(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.error is not None:
            return
        try:
            if self._parser is None:
                self._parser = PushMultipartParser(self._boundary, max_segment_count=MAX_PARTS)
            for event in self._parser.parse(data):
                self._take(event)
        except TooLarge as error:
            self.fail(error)
        except (MultipartError, ValueError) as error:
            self.fail(_unreadable(error))

    async def body(self) -> Body:
        """The whole form, with its file on disk; raises Malformed, TooLarge or NotStored."""
        if self.error is None and self._parser is not None and not self._parser.closed:
            try:
                self._parser.close()
            except MultipartError as error:
                self.fail(_unreadable(error))
        if self.error is not None:
            raise self.error
        await self.temporary.settle()
        return Body(value=self._fields, is_form=True)

    def discard(self) -> None:
        """Remove the temporary file, unless it was published."""
        self.temporary.discard()

    def fail(self, error: Exception) -> None:
        """Drop the whole body, for this reason."""
        self.error = error
        self.discard()

    def _take(self, event: MultipartSegment | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            self._segment = event
            self._text.clear()
            if self._is_file:
                self.temporary.truncate()  # if a part comes twice, the last one counts
        elif event is None:
            self._end()
        elif self._is_file:
            self.temporary.write(event)
            if self.temporary.size > self.limit:
                raise TooLarge(self.limit)
        elif self._is_text:
            self._text_bytes += len(event)
            if self._text_bytes > MAX_TEXT_BYTES:
                raise TooLarge(MAX_TEXT_BYTES)
            self._text += event

    def _end(self) -> None:
        assert self._segment is not None
        name, file_name = self._segment.name, self._segment.filename
        if self._is_file:
            stored = StoredFile(
                name=_last_part(file_name), size=self.temporary.size, temporary=self.temporary
            )
            self._fields[name] = stored
        elif self._is_text:
            self._fields[name] = self._text.decode(self._charset, "replace")
        elif name == self._place.part:
            self._fields[name] = ""  # a part without a file name has no file

    @property
    def _is_file(self) -> bool:
        one = self._segment
        return one is not None and one.name == self._place.part and bool(one.filename)

    @property
    def _is_text(self) -> bool:
        return self._segment is not None and self._segment.filename is None


def _unreadable(error: Exception) -> Malformed:
    return Malformed(f"Multipart form parse error - {echoed(error)}", kind="unreadable-body")


def _last_part(file_name: str) -> str:
    """The name of a file without the folders that some clients send."""
    return re.split(r"[/\\]", file_name)[-1].strip()
