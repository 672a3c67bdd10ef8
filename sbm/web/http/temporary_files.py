"""Temporary files for uploads; see ``sbm.operations.media_files``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sbm.operations import media_files
from sbm.runtime.threads import in_thread, shielded
from sbm.web.http.http_errors import NotStored

# A thread writes so many bytes at once. ``hold`` is called when so many bytes wait for it.
BATCH_BYTES = 2**16
FULL_BYTES = 2**18

T = TypeVar("T")

_log = Logger()


def _nothing() -> None:
    """Nobody is held back."""


@define(eq=False, slots=False, kw_only=True)
class TemporaryFile:
    """A temporary file for an upload. Threads write the data to disk.

    ``hold`` is called when too much data waits for them, and ``release`` when that is over.
    """

    _reactor: Any
    _folder: Path
    hold: Callable[[], None] = field(default=_nothing, init=False)
    release: Callable[[], None] = field(default=_nothing, init=False)
    size: int = field(default=0, init=False)
    _waiting: list[bytes] = field(factory=list, init=False)
    _waiting_bytes: int = field(default=0, init=False)
    _work: Deferred[None] | None = field(default=None, init=False)
    _descriptor: int | None = field(default=None, init=False)
    _path: Path | None = field(default=None, init=False)
    _must_truncate: bool = field(default=False, init=False)
    _failure: OSError | None = field(default=None, init=False)
    _is_taken: bool = field(default=False, init=False)
    _is_discarded: bool = field(default=False, init=False)

    def truncate(self) -> None:
        """Drop the data so far."""
        self.size = 0
        self._must_truncate = True
        self._waiting, self._waiting_bytes = [], 0

    def write(self, data: bytes) -> None:
        """Take a piece of the file."""
        self.size += len(data)
        if self._failure is not None or self._is_discarded:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= BATCH_BYTES:
            self._begin_work()
        if self._waiting_bytes >= FULL_BYTES:
            self.hold()

    async def settle(self) -> None:
        """Wait until all data is written; raises NotStored."""
        self._begin_work()
        await self._idle()
        if self._failure is not None:
            _log.error("an upload could not be written: {error}", error=self._failure)
            raise NotStored

    async def publish(self, name: str) -> None:
        """Give the file its name, durably; after that, ``discard`` keeps it. Raises NotStored.

        Call it once, after ``settle``, and do not cancel it.
        """
        self._is_taken = True
        try:
            await self._in_thread(self._publish, name)
        except (OSError, ValueError) as error:  # ValueError: a name that the file system refuses
            _log.error("an upload could not be stored: {error}", error=error)
            await self._in_thread(self._remove, self._folder / name)
            raise NotStored from error

    async def unpublish(self, name: str) -> None:
        """Remove a published file again."""
        await self._in_thread(self._remove, self._folder / name)

    def discard(self) -> None:
        """Remove it when no thread writes to it any more, unless it has its name."""
        if self._is_taken or self._is_discarded:
            return
        self._is_discarded = True
        self._waiting, self._waiting_bytes = [], 0
        self.release()
        if self._work is not None or self._descriptor is not None:
            removal = Deferred.fromCoroutine(self._discard())
            removal.addErrback(
                lambda failure: _log.failure("a temporary file could not be removed", failure)
            )

    def let_go(self) -> None:
        """Do not refer to a connection any more: it has ended, or serves other requests."""
        self.hold = self.release = _nothing

    async def _discard(self) -> None:
        await self._idle()
        await self._in_thread(self._remove, None)

    def _begin_work(self) -> None:
        if self._work is None and self._waiting and self._failure is None:
            self._work = Deferred.fromCoroutine(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
                truncates, self._must_truncate = self._must_truncate, False
                await self._in_thread(self._append, batch, truncates)
                self.release()
        except OSError as error:
            self._failure = error
            self._waiting, self._waiting_bytes = [], 0
        finally:
            self._work = None
            self.release()

    async def _idle(self) -> None:
        while self._work is not None:
            await shielded(self._work)

    def _in_thread(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        return in_thread(self._reactor, work, *args)

    # In threads, one at a time

    def _append(self, batch: Sequence[bytes], truncates: bool) -> None:
        if self._descriptor is None:
            self._path, self._descriptor = media_files.begin(self._folder)
        if truncates:
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        rest = memoryview(b"".join(batch))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _publish(self, name: str) -> None:
        assert self._descriptor is not None
        assert self._path is not None
        media_files.publish(self._path, self._descriptor, name)
        self._close()

    def _remove(self, published: Path | None) -> None:
        for path in filter(None, (self._path, published)):
            path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
