"""Finds the lines in the logs of the daemons that should not be there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

_NUMBER = re.compile(r"\b(0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+)\b")
_SIGNS = ("Traceback", "Unhandled", "CRITICAL")


def errors(paths: Iterable[Path]) -> list[str]:
    """The errors in some logs, each kind once for each time that it occurs, the rarest first."""
    counted = Counter(error for path in paths for error in _errors(path))
    rising = sorted(counted.items(), key=lambda item: item[1])
    told = [f"{error} ({count} times)" for error, count in rising]
    # As many entries as there were errors; what differs comes first.
    return told + [error for error, count in rising for _ in range(count - 1)]


def _errors(path: Path) -> Iterator[str]:
    """For each traceback what was said before it, and how it ended."""
    text = path.read_text(encoding="utf-8", errors="replace")
    entry: list[str] = []
    for line in [*text.splitlines(), "end"]:
        # Twisted indents what belongs to the line above; Python by itself does not.
        is_plain = bool(entry) and entry[0].startswith("Traceback")
        if line.startswith(("\t", " ")) or (is_plain and entry[-1].startswith((" ", "Traceback"))):
            entry.append(line)
            continue
        if any(sign in part for part in entry for sign in _SIGNS):
            last = [part.strip() for part in entry if part.strip()][-1]
            yield f"{_said(entry[0])} | {last[:200]}"
        entry = [line]


def _said(line: str) -> str:
    """A line without its time and other numbers, which would make each of them another one."""
    return _NUMBER.sub("…", line.partition("] ")[2] or line)[:200]
