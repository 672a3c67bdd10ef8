"""Files that outlive the process, in the folder for them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.logger import Logger

from sbm.runtime.threads import in_thread

T = TypeVar("T")


def state_path(folder: Path, name: str, *, about: str) -> Path:
    """The file in which a value about this thing is kept."""
    digest = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()
    return folder / f"{name}-{digest[:12]}.json"


@define(eq=False, slots=False, kw_only=True)
class StateFile(Generic[T]):
    """One value in a file of ``folder``; without a folder, nothing is kept.

    ``about`` is what the value belongs to: another thing has another file in the same folder.
    ``parse`` reads the text of the file, and raises ValueError; ``format`` writes it. A file that
    cannot be read or written never ends the daemon.
    """

    _reactor: Any
    _folder: Path | None
    _name: str
    _about: str
    _parse: Callable[[str], T]
    _format: Callable[[T], str]
    _log: Logger = field(factory=Logger)
    _is_writable: bool = field(default=True, init=False)

    async def read(self) -> T | None:
        """The value that was kept last, if there is one."""
        if self._folder is None:
            return None
        return await self._read_at(state_path(self._folder, self._name, about=self._about))

    async def _read_at(self, path: Path) -> T | None:
        try:
            return await in_thread(self._reactor, self._read, path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._log.warn("{path} cannot be read: {error}", path=str(path), error=error)
            return None

    async def read_others(self) -> list[T]:
        """The values of the same kind that belong to other things."""
        if self._folder is None:
            return []
        own = state_path(self._folder, self._name, about=self._about)
        others = sorted(set(self._folder.glob(f"{self._name}-*.json")) - {own})
        found = [await self._read_at(path) for path in others]
        return [one for one in found if one is not None]

    async def keep(self, value: T) -> None:
        """Replace the file."""
        if self._folder is None:
            return
        path = state_path(self._folder, self._name, about=self._about)
        try:
            await in_thread(self._reactor, _write, path, self._format(value))
            self._is_writable = True
        except OSError as error:
            if self._is_writable:
                self._log.warn("{path} cannot be written: {error}", path=str(path), error=error)
            self._is_writable = False

    def _read(self, path: Path) -> T:
        return self._parse(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    """Write the file at once, so that a crash leaves either the old text or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
