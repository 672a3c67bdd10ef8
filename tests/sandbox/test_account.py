"""The account that the embedded PostgreSQL runs as, and its access to files."""

from __future__ import annotations

import os
import pwd
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from sbm.sandbox.account import NoAccountError, SystemAccount, unprivileged_account

SOMEBODY = SystemAccount(uid=54321, gid=54321, groups=())


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return path.stat().st_mode & 0o777


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory of programs installed with a strict umask."""
    programs = tmp_path / "home" / "package" / "server" / "bin"
    programs.mkdir(parents=True)
    (programs / "run").touch(mode=0o700)
    (programs / "read").touch(mode=0o600)
    libraries = tmp_path / "home" / "package.libs"
    libraries.mkdir()
    (libraries / "library").touch(mode=0o600)
    for directory in (tmp_path / "home", programs, libraries):
        directory.chmod(0o700)
    return programs


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory below a closed one, beside a secret."""
    data = tmp_path / "closed" / "data"
    data.mkdir(parents=True)
    data.chmod(0o700)
    data.parent.chmod(0o700)
    (data.parent / "secret").touch(mode=0o600)
    return data


def test_directories_above_may_be_passed_but_not_listed(programs: Path, data: Path) -> None:
    SOMEBODY.let_pass(programs=programs, data=data)

    assert mode(data.parent) == 0o701
    assert mode(programs.parents[2]) == 0o701


def test_the_data_and_what_lies_beside_it_stay_closed(programs: Path, data: Path) -> None:
    SOMEBODY.let_pass(programs=programs, data=data)

    assert mode(data) == 0o700
    assert mode(data.parent / "secret") == 0o600


def test_programs_can_be_run_and_their_files_read(programs: Path, data: Path) -> None:
    SOMEBODY.let_pass(programs=programs, data=data)

    assert mode(programs) == 0o705
    assert mode(programs / "run") == 0o705
    assert mode(programs / "read") == 0o604
    assert mode(programs.parents[2] / "package.libs" / "library") == 0o604


def test_for_ourselves_nothing_is_opened(programs: Path, data: Path) -> None:
    SystemAccount().let_pass(programs=programs, data=data)

    assert mode(data.parent) == 0o700
    assert mode(programs / "run") == 0o700


def test_an_ordinary_user_runs_the_server_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert unprivileged_account() == SystemAccount()


def test_root_without_the_account_or_useradd_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("sbm.sandbox.account._NAME", "nobody-has-this-name")
    monkeypatch.setattr("shutil.which", lambda command, path: None)

    with pytest.raises(NoAccountError, match="no useradd"):
        unprivileged_account()


def test_of_several_that_start_at_once_one_alone_makes_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    together = Barrier(2)

    def getpwnam(name: str) -> Any:
        if not made:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 999, 995, "", "", ""))

    def useradd(command: Any, **_: Any) -> Any:
        with suppress(BrokenBarrierError):
            together.wait(timeout=0.2)  # for a second one that has seen no account either
        made.append(command)
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(subprocess, "run", useradd)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/useradd")
    with ThreadPoolExecutor(4) as pool:
        accounts = [each.result() for each in [pool.submit(unprivileged_account) for _ in range(4)]]
    assert len(made) == 1
    assert accounts == [SystemAccount(uid=999, gid=995, groups=())] * 4
