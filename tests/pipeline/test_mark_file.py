"""The mark beside the daemon."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from sbm.model.installation import Mark
from sbm.pipeline.mark_file import MarkFile

MARK = Mark(
    installation_id=UUID(int=1), beat=7, seen_at=datetime(2026, 11, 28, 5, tzinfo=timezone.utc)
)


def mark_file(folder: Path | None, database: str = "db:5432/sbm") -> MarkFile:
    return MarkFile(reactor=reactor, folder=folder, database=database)


@ensureDeferred
async def test_the_last_mark_is_read_again(tmp_path: Path) -> None:
    file = mark_file(tmp_path)
    assert await file.read() is None
    await file.keep(MARK)
    await file.keep(evolve(MARK, beat=8))
    assert await mark_file(tmp_path).read() == evolve(MARK, beat=8)
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("database-mark-")


@ensureDeferred
async def test_each_database_has_a_mark_of_its_own(tmp_path: Path) -> None:
    file, other = mark_file(tmp_path), mark_file(tmp_path, "db:5432/other")
    await file.keep(MARK)
    await other.keep(evolve(MARK, beat=8))
    assert await file.read() == MARK
    assert await file.read_others() == [evolve(MARK, beat=8)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        MARK.to_json().replace("+00:00", "").encode(),
        MARK.to_json().replace("7", "Infinity").encode(),
        MARK.to_json().replace("7", "NaN").encode(),
    ],
)
@ensureDeferred
async def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, content: bytes) -> None:
    file = mark_file(tmp_path)
    await file.keep(MARK)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(content)
    assert await file.read() is None
    assert await mark_file(tmp_path, "db:5432/other").read_others() == []


@ensureDeferred
async def test_without_a_folder_nothing_is_kept() -> None:
    file = mark_file(None)
    await file.keep(MARK)
    assert await file.read() is None
    assert await file.read_others() == []


@ensureDeferred
async def test_a_folder_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    file = mark_file(tmp_path / "gone")
    await file.keep(MARK)
    assert await file.read() is None
