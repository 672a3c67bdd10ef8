"""Keeps the mark of the database in a file beside the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sbm.model.installation import Mark
from sbm.runtime.state_folder import StateFile

NAME = "database-mark"


class MarkFile(StateFile[Mark]):
    """The mark that the daemon has seen last in this ``database``."""

    def __init__(self, *, reactor: Any, folder: Path | None, database: str) -> None:
        super().__init__(
            reactor=reactor,
            folder=folder,
            name=NAME,
            about=database,
            parse=Mark.from_json,
            format=Mark.to_json,
        )
