"""The names of files that are uploaded, served and copied."""

from __future__ import annotations

import re

# One step of a path, and no hidden file.
_PLAIN = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,254}")


def is_plain(name: str) -> bool:
    """Whether a name leads to a file in the folder itself, and nowhere else."""
    return _PLAIN.fullmatch(name) is not None
