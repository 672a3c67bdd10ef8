"""Keeps the mark of the database in a file beside the daemon."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from sbm.model.installation import Mark
from sbm.runtime.threads import in_thread

NAME = "database-mark.json"


@define(eq=False, slots=False, kw_only=True)
class MarkFile:
    """The file in ``folder``, which outlives the daemon; without a folder, nothing is kept.

    A file that cannot be read or written never ends the daemon.
    """

    _reactor: Any
    _folder: Path | None
    _log: Logger = field(factory=Logger)
    _is_writable: bool = field(default=True, init=False)

    async def read(self) -> Mark | None:
        """The mark that was kept last, if there is one."""
        if self._folder is None:
            return None
        try:
            return await in_thread(self._reactor, _read, self._folder / NAME)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._log.warn(
                "{path} cannot be read: {error}", path=str(self._folder / NAME), error=error
            )
            return None

    async def keep(self, mark: Mark) -> None:
        """Replace the file."""
        if self._folder is None:
            return
        try:
            await in_thread(self._reactor, _write, self._folder / NAME, mark)
            self._is_writable = True
        except OSError as error:
            if self._is_writable:
                self._log.warn(
                    "{path} cannot be written: {error}", path=str(self._folder / NAME), error=error
                )
            self._is_writable = False


def _read(path: Path) -> Mark:
    return Mark.from_json(path.read_text(encoding="utf-8"))


def _write(path: Path, mark: Mark) -> None:
    """Write the file at once, so that a crash leaves either the old mark or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(mark.to_json())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
