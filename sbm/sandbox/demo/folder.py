"""The folder of a sandbox."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile

from sbm.sandbox.private_files import private

# The size of the log file, and the number of older ones that are kept.
LOG_BYTES = 5_000_000
OLDER_LOGS = 2


@define(eq=False, slots=False, kw_only=True)
class Folder(Service):
    """A folder that is locked by this process from ``take`` until it stops or ends."""

    path: Path
    _lock: int | None = field(default=None, init=False)

    def __str__(self) -> str:
        """The path relative to the current folder, if it is below it."""
        try:
            return f"./{self.path.relative_to(Path.cwd())}"
        except ValueError:
            return str(self.path)

    @property
    def database(self) -> Path:
        """The folder of the PostgreSQL server."""
        return self.path / "database"

    @property
    def media(self) -> Path:
        """The folder of the sound files; it is made if it does not exist."""
        path = self.path / "media"
        path.mkdir(exist_ok=True)
        return path

    @property
    def ready_file(self) -> Path:
        """The file that exists while the sandbox is ready, with the URLs for programs."""
        return self.path / "sandbox.json"

    @property
    def token_file(self) -> Path:
        """The file in which the administrator's token is kept for the next run."""
        return self.path / "token"

    def take(self) -> None:
        """Lock the folder, and make it if it does not exist.

        Raises BlockingIOError if another process has locked it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise
        self._lock = lock

    def stopService(self) -> None:
        Service.stopService(self)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def log_observer(self) -> Any:
        """Writes all events to ``sbm.log``, except when HTTP clients connect and disconnect."""
        wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)
        wanted.setLogLevelForNamespace("twisted.web.client._HTTP11ClientFactory", LogLevel.warn)
        # The log has the token in it, so only we may read it.
        file: Any = LogFile(
            "sbm.log",
            str(self.path),
            rotateLength=LOG_BYTES,
            maxRotatedFiles=OLDER_LOGS,
            defaultMode=0o600,
        )
        observer: Any = textFileLogObserver(file)
        return FilteringLogObserver(observer, [wanted])


def write_secret(file: Path, text: str) -> None:
    """Write a file that only we may read, completely or not at all."""
    half = file.with_name(f".{file.name}.new")
    half.unlink(missing_ok=True)
    with open(half, "x", encoding="utf-8", opener=private) as writing:
        writing.write(text)
    os.replace(half, file)
