"""``/media``: the files that messages carry, for whoever fetches them; nothing is ever listed."""

from __future__ import annotations

from pathlib import Path

from twisted.python.filepath import FilePath, InsecurePath
from twisted.web.static import File


def media_file(root: Path, name: str) -> File | None:
    """The resource of the file with this name right below ``root``, if it is one."""
    try:
        path = FilePath(str(root)).child(name)
        if path.islink() or not path.isfile():
            return None
    except (InsecurePath, ValueError):  # a NUL is a ValueError
        return None
    return File(path.path, defaultType="application/octet-stream")
