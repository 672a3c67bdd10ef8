"""Files of the old service, copied to where they are served from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sbm.operations.django_import.old_files import FileCopier
from sbm.store.django.report import OldFile


@pytest.fixture
def copies(tmp_path: Path) -> FileCopier:
    media, root = tmp_path / "media", tmp_path / "root"
    (media / "audio").mkdir(parents=True)
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"not for everybody")
    (media / "audio" / "one.mp3").write_bytes(b"one")
    return FileCopier(media=media, root=root)


ONE = OldFile(id=1, old_name="audio/one.mp3", name="audio_one.mp3")


def test_a_file_is_copied_once_under_its_new_name(copies: FileCopier) -> None:
    assert [copies.bring(ONE), copies.bring(ONE)] == [None, None]
    assert (copies.copied, copies.there) == (1, 1)
    assert [path.name for path in copies.root.iterdir()] == ["audio_one.mp3"]
    assert (copies.root / "audio_one.mp3").read_bytes() == b"one"


def test_everybody_may_read_what_is_copied_whoever_copies_it(copies: FileCopier) -> None:
    """The daemon may run as another user, and others may serve the folder."""
    before = os.umask(0o077)
    try:
        assert copies.bring(ONE) is None
    finally:
        os.umask(before)
    assert (copies.root / "audio_one.mp3").stat().st_mode & 0o777 == 0o644


def test_a_copy_that_is_broken_off_leaves_nothing(
    copies: FileCopier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        copies.bring(ONE)
    assert list(copies.root.iterdir()) == []


def test_another_file_of_the_same_name_is_left_alone(copies: FileCopier) -> None:
    (copies.root / "audio_one.mp3").write_bytes(b"another")
    assert "its size differs" in str(copies.bring(ONE))
    assert (copies.root / "audio_one.mp3").read_bytes() == b"another"


@pytest.mark.parametrize("name", ["two.mp3", "audio", "../secret", "audio/../../secret"])
def test_only_files_of_the_folder_are_copied(copies: FileCopier, name: str) -> None:
    assert "there is no file" in str(copies.bring(OldFile(id=1, old_name=name, name="x")))
    assert list(copies.root.iterdir()) == []


def test_looking_copies_nothing(copies: FileCopier) -> None:
    looking = FileCopier(media=copies.media, root=copies.root, only_looks=True)
    assert looking.bring(ONE) is None
    assert looking.copied == 1
    assert list(copies.root.iterdir()) == []
