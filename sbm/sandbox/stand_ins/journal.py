"""A file of JSON lines, from which a stand-in loads its content after it was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from attrs import define, field

from sbm.sandbox.private_files import private


@define(eq=False, kw_only=True)
class Journal:
    """Append-only JSON lines at a path; without a path, nothing is stored.

    Only we may read the file: calls to the Scheduler have a token in them, others people's numbers.

    Each line reaches the operating system before ``append`` returns, so no line is lost if the
    process is killed. There is no fsync, so lines may be lost if the power fails.
    """

    _path: Path | None
    _file: BinaryIO | None = field(init=False, default=None)

    def replay(self) -> list[Any]:
        """Open the file and return its entries, oldest first; an incomplete last line is removed.

        Errors: ``ValueError`` if another line is not JSON, ``OSError`` if it cannot be opened.
        """
        if self._path is None:
            return []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+b", opener=private)  # noqa: SIM115
        self._file.seek(0)
        written = self._file.read()
        whole = written.rfind(b"\n") + 1
        # The next entry must not be appended to an incomplete one, whose client got no answer.
        self._file.truncate(whole)
        return [json.loads(line) for line in written[:whole].split(b"\n")[:-1]]

    def append(self, entry: Any) -> None:
        """Write one entry."""
        if self._file is None:
            return
        self._file.write(json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; entries that are appended afterwards are not stored."""
        if self._file is not None:
            self._file.close()
            self._file = None
