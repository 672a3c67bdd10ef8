"""Tables as CSV, for spreadsheets: RFC 4180, in which no cell is a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from sbm.model.text import escaped

# With these, a cell begins that a spreadsheet executes.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """The rows as lines; None is an empty cell, and true and false are words."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(map(_cells, rows))
    return written.getvalue()


def _cells(row: Sequence[Any]) -> list[str]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, str):
        text = escaped(value)
        # An apostrophe makes a text of it; spreadsheets do not show it.
        return f"'{text}" if value.startswith(_FORMULA) else text
    return str(value)
