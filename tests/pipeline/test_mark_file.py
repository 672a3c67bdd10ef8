"""The mark beside the daemon."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from sbm.model.installation import Mark
from sbm.pipeline.mark_file import NAME, MarkFile

MARK = Mark(
    installation_id=UUID(int=1), beat=7, seen_at=datetime(2026, 11, 28, 5, tzinfo=timezone.utc)
)


@ensureDeferred
async def test_the_last_mark_is_read_again(tmp_path: Path) -> None:
    file = MarkFile(reactor=reactor, folder=tmp_path)
    assert await file.read() is None
    await file.keep(MARK)
    assert await MarkFile(reactor=reactor, folder=tmp_path).read() == MARK
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000])
@ensureDeferred
async def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert await MarkFile(reactor=reactor, folder=tmp_path).read() is None


@ensureDeferred
async def test_without_a_folder_nothing_is_kept() -> None:
    file = MarkFile(reactor=reactor, folder=None)
    await file.keep(MARK)
    assert await file.read() is None


@ensureDeferred
async def test_a_folder_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    file = MarkFile(reactor=reactor, folder=tmp_path / "gone")
    await file.keep(MARK)
    assert await file.read() is None
