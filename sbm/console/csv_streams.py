"""Lists as CSV files, written no faster than the browser takes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from twisted.web.server import Request

from sbm.model.csv_text import csv_lines
from sbm.web.http.flow import Flow

Rows = Sequence[Sequence[Any]]


def csv_stream(
    head: Sequence[str], parts: Callable[[], AsyncGenerator[Rows, None]]
) -> Callable[[Request], Awaitable[None]]:
    """Writes a file with these names of columns; ``parts`` reads its rows, a few at a time."""

    async def write(request: Request) -> None:
        flow = Flow()
        with flow.of(request):
            request.write(csv_lines([head]).encode("utf-8"))
            async for rows in parts():
                await flow.ready()
                request.write(csv_lines(rows).encode("utf-8", "backslashreplace"))

    return write


def csv_headers(name: str) -> dict[str, str]:
    """The headers of such a file."""
    return {
        "Content-Type": "text/csv; charset=utf-8",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
