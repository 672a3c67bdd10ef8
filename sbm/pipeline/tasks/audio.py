"""Copies the files of messages to the voice vendor.

The vendor's folder itself shows what is missing: at the start of every task, its list is read into
a table, a part at a time. So files that were deleted there are copied again. A task that is
resumed, here or by another daemon, begins with the files that are there by then.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred

from sbm.clients.outcomes import Rejected, Unavailable
from sbm.model.backoff import backoff
from sbm.model.content import FileToCompare
from sbm.model.durations import LongestDelay
from sbm.model.file_names import is_plain
from sbm.model.task import Task, TaskKind
from sbm.pipeline.tasks.runner import Interrupted, TaskFailed, TaskRunner, TaskWork
from sbm.runtime.threads import in_thread
from sbm.runtime.wakeups import Wakeup
from sbm.store import audio_copies

if TYPE_CHECKING:
    from sbm.clients.voice_vendor.sftp import VoiceVendor

PAGE = 200
# How often a task reports its progress, and checks that it still belongs to this daemon.
REPORT_SECONDS = 2.0
# A pause may be longer than the lease, so the lease is renewed that often during a pause.
RENEW_SECONDS = 60.0
# How often in a row the connection may be lost during a file without any progress.
MAX_LOSSES = 5
MAX_FAULTS = 100


@define(eq=False, kw_only=True)
class _AudioProgress:
    """The progress of a task, and the files that could not be copied."""

    total: int = 0
    there: int = 0
    copied: int = 0
    copied_bytes: int = 0
    failed: int = 0
    faults: list[dict[str, str]] = field(factory=list)
    waiting_for: str | None = None

    def fail(self, name: str, why: str) -> None:
        self.failed += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append({"file": name, "reason": why})

    @property
    def done(self) -> int:
        return self.there + self.copied + self.failed

    def expect(self, count: int) -> None:
        """So many files come next; some may have been uploaded since the total was counted."""
        self.total = max(self.total, self.done + count)

    def as_json(self) -> dict[str, Any]:
        return {"done": self.done, **self._counts(), "waiting_for": self.waiting_for}

    def result(self) -> dict[str, Any]:
        return {**self._counts(), "faults": self.faults}

    def _counts(self) -> dict[str, int]:
        return {
            "total": self.total,
            "there": self.there,
            "copied": self.copied,
            "copied_bytes": self.copied_bytes,
            "failed": self.failed,
        }


@define(eq=False, slots=False, kw_only=True)
class AudioCopies(TaskRunner):
    """Does the tasks of ``sync-audio-files``, besides all other tasks: they may take hours.

    While the vendor is away, the task waits for it. Without a ``vendor``, or a folder of files,
    it fails. ``draw`` gives random numbers from 0 to 1.
    """

    loop_name = "copy audio"

    _vendor: VoiceVendor | None
    _media_root: Path | None
    _draw: Callable[[], float]
    _backoff_max: LongestDelay

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._stopping = Wakeup(reactor=self._reactor)
        self._reported = 0.0

    @property
    def work(self) -> Mapping[TaskKind, TaskWork]:
        return {"sync-audio-files": self._synchronise}

    def stopService(self) -> Deferred[None] | None:
        """Stop in the middle of a file: a later task resumes it from there."""
        stopped = super().stopService()
        self._stopping.wake()
        if self._vendor is not None:
            self._vendor.abandon()
        return stopped

    async def _synchronise(self, task: Task) -> Mapping[str, Any]:
        if self._vendor is None:
            raise TaskFailed("AUDIO_FTP_HOST is not set: there is no voice vendor to copy to")
        if self._media_root is None:
            raise TaskFailed("SBM_MEDIA_ROOT is not set: there are no files here to be copied")
        progress = _AudioProgress(total=await self._database.transact(audio_copies.count_files))
        work = _Sync(
            copies=self, task=task, progress=progress, vendor=self._vendor, root=self._media_root
        )
        try:
            await work.list_there()
            await work.copy_missing()
            await self._database.transact(audio_copies.forget_unseen, task_id=task.id)
        except Rejected as rejected:
            raise TaskFailed(str(rejected), progress.result()) from rejected
        finally:
            self._vendor.close()
        await self.report(task, progress, at_once=True)
        if progress.failed:
            reason = (
                f"{progress.failed} of {progress.total} files could not be copied: see the result"
            )
            raise TaskFailed(reason, progress.result())
        return progress.result()

    async def report(self, task: Task, progress: _AudioProgress, *, at_once: bool = False) -> None:
        """Report the progress, now and then; raises Interrupted."""
        if not self.running:
            raise Interrupted
        now = self._reactor.seconds()
        if at_once or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            await self.keep(task, progress.as_json())

    async def wait(
        self, task: Task, progress: _AudioProgress, failures: int, why: Unavailable
    ) -> None:
        """Give the vendor time to come back; raises Interrupted."""
        if failures == 1 and self.running:
            self._log.warn("copying files waits for the voice vendor: {why}", why=str(why))
        progress.waiting_for = str(why)
        await self.report(task, progress, at_once=True)
        rest = backoff(failures, self._draw, cap=self._backoff_max).total_seconds()
        while rest > RENEW_SECONDS:
            rest -= RENEW_SECONDS
            await self._stopping.wait(RENEW_SECONDS)
            await self.report(task, progress, at_once=True)
        await self._stopping.wait(rest)
        progress.waiting_for = None
        await self.report(task, progress, at_once=True)

    async def in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        return await in_thread(self._reactor, work, *args)

    async def transact(self, work: Callable[..., Any], **kwargs: Any) -> Any:
        return await self._database.transact(work, **kwargs)


@define(eq=False, kw_only=True)
class _Sync:
    """One task of copying."""

    _copies: AudioCopies
    _task: Task
    _progress: _AudioProgress
    _vendor: VoiceVendor
    _root: Path
    _failures: int = 0
    _moved: int = 0

    async def list_there(self) -> None:
        """Record which files the vendor has, a part of the list at a time."""
        while True:
            try:
                await self._vendor.connect()
                async with aclosing(self._vendor.list_sizes()) as parts:
                    async for sizes in parts:
                        await self._copies.transact(
                            audio_copies.note_seen, task_id=self._task.id, sizes=sizes
                        )
                        await self._report()
                return
            except Unavailable as why:
                await self._wait(why)

    async def copy_missing(self) -> None:
        """Compare all files with what the vendor has, and copy those that differ."""
        after = 0
        while True:
            page: list[FileToCompare] = await self._copies.transact(
                audio_copies.list_to_compare, task_id=self._task.id, after=after, limit=PAGE
            )
            if not page:
                return
            self._progress.expect(len(page))
            sizes = await self._copies.in_thread(_sizes, self._root, [one.name for one in page])
            for file, size in zip(page, sizes, strict=True):
                await self._have_there(file, size)
                await self._report()
            after = page[-1].id

    async def _have_there(self, file: FileToCompare, size: int | str) -> None:
        if file.size_there is not None and (isinstance(size, str) or size == file.size_there):
            self._count(file.is_copied, file.size_there)
        elif isinstance(size, str):
            self._progress.fail(file.name, size)
        else:
            await self._copy(file.name)

    async def _copy(self, name: str) -> None:
        """Copy one file; if the connection is lost, go on after a pause."""
        try:
            descriptor, opened = await self._copies.in_thread(_open, self._root / name)
        except OSError as error:
            self._progress.fail(name, _why(error))
            return
        size = opened.st_size
        try:
            is_copied = await self._put(name, descriptor, opened)
        except (Rejected, OSError) as error:
            self._progress.fail(name, str(error))
            return
        finally:
            os.close(descriptor)
        if is_copied:
            await self._copies.transact(
                audio_copies.note_copied, task_id=self._task.id, name=name, size=size
            )
        else:
            await self._copies.transact(
                audio_copies.note_seen, task_id=self._task.id, sizes={name: size}
            )
        self._count(is_copied, size)

    async def _put(self, name: str, descriptor: int, opened: os.stat_result) -> bool:
        async def read(offset: int, length: int) -> bytes:
            piece: bytes = await self._copies.in_thread(_read, descriptor, length, offset, opened)
            return piece

        losses = 0
        while True:
            await self._connect()
            moved = self._moved
            try:
                return await self._vendor.put(name, opened.st_size, read, self._have_moved)
            except Unavailable as why:
                losses = losses + 1 if self._moved == moved else 0
                if losses == MAX_LOSSES:
                    raise Rejected(f"given up, {losses} times in a row: {why}") from why
                await self._wait(why)

    async def _connect(self) -> None:
        """Connect; an error that concerns the whole vendor ends the task."""
        while True:
            await self._report()
            try:
                await self._vendor.connect()
            except Unavailable as why:
                await self._wait(why)
            except Rejected as why:
                raise TaskFailed(str(why), self._progress.result()) from why
            else:
                return

    async def _have_moved(self, count: int) -> None:
        self._moved += count
        self._failures = 0
        await self._report()

    async def _wait(self, why: Unavailable) -> None:
        self._failures += 1
        await self._copies.wait(self._task, self._progress, self._failures, why)

    async def _report(self) -> None:
        await self._copies.report(self._task, self._progress)

    def _count(self, is_copied: bool, size: int) -> None:
        self._failures = 0
        if is_copied:
            self._progress.copied += 1
            self._progress.copied_bytes += size
        else:
            self._progress.there += 1


def _sizes(root: Path, names: list[str]) -> list[int | str]:
    """The sizes of these files, or why they cannot be copied. In a thread."""
    return [_size(root, name) for name in names]


def _size(root: Path, name: str) -> int | str:
    if not is_plain(name):
        return "its name is not a plain file name"
    try:
        found = os.stat(root / name, follow_symlinks=False)
    except (OSError, ValueError) as error:
        return _why(error)
    return found.st_size if stat.S_ISREG(found.st_mode) else "it is not a regular file"


def _open(path: Path) -> tuple[int, os.stat_result]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor, os.fstat(descriptor)


def _read(descriptor: int, length: int, offset: int, opened: os.stat_result) -> bytes:
    """A piece of the file as it was when it was opened; raises Rejected if it was changed."""
    piece = os.pread(descriptor, length, offset)
    now = os.fstat(descriptor)
    if (now.st_size, now.st_mtime_ns) != (opened.st_size, opened.st_mtime_ns):
        raise Rejected("it was changed here while it was copied")
    return piece


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not in the media folder"
    return f"it cannot be read here: {getattr(error, 'strerror', None) or error}"
