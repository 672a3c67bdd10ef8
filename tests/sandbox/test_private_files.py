"""Files that only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sbm.sandbox.demo.folder import Folder, write_secret
from sbm.sandbox.private_files import private
from sbm.sandbox.stand_ins.journal import Journal


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """A process that lets everyone read its files, unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_private_file_is_never_open_to_others(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fchmod", lambda descriptor, mode: None)
    with open(tmp_path / "new", "a+b", opener=private):
        assert mode_of(tmp_path / "new") == 0o600


def test_a_file_that_was_open_to_others_is_so_no_longer(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("secret")
    assert mode_of(tmp_path / "old") == 0o666
    with open(tmp_path / "old", opener=private) as file:
        assert file.read() == "secret"
    assert mode_of(tmp_path / "old") == 0o600


def test_all_that_a_sandbox_writes_about_itself_is_private(tmp_path: Path) -> None:
    Folder(path=tmp_path).log_observer()
    write_secret(tmp_path / "token", "secret")
    journal = Journal(path=tmp_path / "journal" / "calls.jsonl")
    assert journal.replay() == []
    journal.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"sbm.log", "token", "calls.jsonl"}
    assert {mode_of(path) for path in files} == {0o600}


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777
