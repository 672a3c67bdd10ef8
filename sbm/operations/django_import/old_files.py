"""Copies the files of the old service's messages to the media folder of sbm."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field

from sbm.operations import media_files
from sbm.store.django.report import OldFile


@define(eq=False, kw_only=True)
class FileCopier:
    """Copies files from ``media`` to ``root``, and counts them.

    A file that is there already, with the right size, is not copied again. If another file has the
    same name, nothing is overwritten. If it ``only_looks``, nothing is copied.
    """

    media: Path
    root: Path
    only_looks: bool = False
    copied: int = field(default=0, init=False)
    there: int = field(default=0, init=False)

    def bring(self, file: OldFile) -> str | None:
        """Copy one file, unless it is there already; returns its problem, if it has one."""
        old, new = self.media / file.old_name, self.root / file.name
        if not old.resolve().is_relative_to(self.media.resolve()) or not old.is_file():
            return f"there is no file {file.old_name} in {self.media}"
        size = old.stat().st_size
        if new.exists():
            if new.stat().st_size != size:
                return f"another file is called {file.name} in {self.root}: its size differs"
            self.there += 1
            return None
        if not self.only_looks:
            media_files.copy(old, self.root, file.name)
        self.copied += 1
        return None
