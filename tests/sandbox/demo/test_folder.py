"""The folder of a sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, LogPublisher

from sbm.sandbox.demo.folder import Folder, write_secret


def test_a_folder_is_made_and_taken(tmp_path: Path) -> None:
    Folder(path=tmp_path / "var" / "sandbox").take()
    assert (tmp_path / "var" / "sandbox").is_dir()


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = Folder(path=tmp_path), Folder(path=tmp_path)
    first.take()
    with pytest.raises(BlockingIOError):
        second.take()
    first.stopService()
    second.take()


def test_a_folder_below_is_named_from_here(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Folder(path=tmp_path / "var" / "sandbox")) == "./var/sandbox"
    assert str(Folder(path=Path("/elsewhere"))) == "/elsewhere"


def test_a_secret_is_for_its_owner_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    write_secret(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["token"]


def test_an_interrupted_writing_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / ".token.new").write_text("half")
    write_secret(tmp_path / "token", "whole")
    assert (tmp_path / "token").read_text() == "whole"


def test_everything_is_logged_but_the_chatter_of_clients(tmp_path: Path) -> None:
    observer = Folder(path=tmp_path).log_observer()
    publisher: Any = LogPublisher(observer)
    Logger(observer=publisher).debug("a detail")
    chatter = Logger("twisted.web.client._HTTP11ClientFactory", observer=publisher)
    chatter.info("Starting factory")
    chatter.error("but this matters")
    written = (tmp_path / "sbm.log").read_text()
    assert "a detail" in written
    assert "Starting factory" not in written
    assert "but this matters" in written
