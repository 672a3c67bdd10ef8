"""Write files into the media folder, and make their names.

A file begins as a temporary file. Its name is never served, and its writer holds a lock on it. Only
a crash leaves a temporary file behind. ``delete_abandoned`` deletes temporary files without
a writer.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

_PREFIX = ".upload-"
_EXTENSION = re.compile(r"\.\w{1,16}")

# So much of a file is in memory while it is copied.
_BLOCK_BYTES = 2**20


def new_name(uploaded_as: str, now: datetime) -> str:
    """A name that cannot be guessed: the time, 128 random bits, and the extension of the upload."""
    extension = PurePosixPath(uploaded_as).suffix
    moment = now.astimezone(timezone.utc).strftime("%Y%m%d%H%M%S%f")
    suffix = extension if _EXTENSION.fullmatch(extension) else ""
    return f"{moment}-{secrets.token_hex(16)}{suffix}"


def begin(folder: Path) -> tuple[Path, int]:
    """A new file, locked; tries again if another process deletes the file before it is locked."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(16)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def publish(path: Path, descriptor: int, name: str) -> None:
    """Give a file that was written its name, durably. It remains open."""
    os.fchmod(descriptor, 0o644)  # another server may serve the folder
    os.fsync(descriptor)
    os.rename(path, path.parent / name)
    _sync_folder(path.parent)


def copy(old: Path, folder: Path, new: str) -> None:
    """Copy a file to a new name in the folder, whole or not at all; raises OSError."""
    with open(old, "rb") as source:
        path, descriptor = begin(folder)
        try:
            with open(descriptor, "wb") as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                target.flush()
                if target.tell() != os.fstat(source.fileno()).st_size:
                    raise OSError(f"{old} changed while it was copied")
                publish(path, descriptor, new)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def delete_abandoned(folder: Path) -> None:
    """Remove the temporary files without a writer; those of other daemons are locked."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(_PREFIX)]
    for path in left:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
