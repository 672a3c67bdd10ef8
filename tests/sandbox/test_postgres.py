"""The embedded PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest

from sbm.sandbox.postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.patience import patience

Run = Callable[..., EmbeddedPostgres]

OWNER = """
import sys, time
from pathlib import Path
from sbm.sandbox.postgres import EmbeddedPostgres
server = EmbeddedPostgres(folder=Path(sys.argv[1]))
server.start()
print(server._watcher.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own directory, which pytest closes to the server's account."""
    folder = Path(tempfile.mkdtemp(prefix="sbm-tests-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run() -> Iterator[Run]:
    """Make servers that are stopped after the test."""
    made = []

    def run(folder: Path, **settings: str | int) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(folder=folder, settings={"fsync": "off", **settings}))
        made[-1].start()
        return made[-1]

    yield run
    for server in made:
        server.stop()


def ask(server: EmbeddedPostgres, statement: str) -> object:
    """The one value that a statement answers, committed."""
    uri = server.uri()
    with closing(psycopg2.connect(uri)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(folder: Path) -> int:
    """The process id of the server of a folder, which must be there."""
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that waits to be buried counts as dead."""
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status != "zombie"


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    end = time.monotonic() + patience()
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def killed_owner(folder: Path, *, with_watcher: bool) -> int:
    """Start a server in another process, kill that process, and return the server's id."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        watcher = int(owner.stdout.readline())
        server = postmaster(folder)
        if with_watcher:
            os.kill(watcher, signal.SIGKILL)
        owner.kill()
    return server


def test_what_was_written_is_there_after_a_restart(folder: Path, run: Run) -> None:
    server = run(folder)
    ask(server, "CREATE TABLE kept AS SELECT 7 AS number")
    server.stop()
    server.start()

    assert ask(server, "SELECT number FROM kept") == 7


def test_the_server_is_gone_when_stop_returns(folder: Path, run: Run) -> None:
    server = run(folder)
    pid = postmaster(folder)
    with closing(psycopg2.connect(server.uri())):
        server.stop()

    assert not is_alive(pid)
    server.stop()


def test_settings_reach_the_server(folder: Path, run: Run) -> None:
    server = run(folder, max_connections=37, application_name="it's a test")

    assert ask(server, "SHOW max_connections") == "37"
    assert ask(server, "SELECT reset_val FROM pg_settings WHERE name = 'application_name'") == (
        "it's a test"
    )


def test_a_wrong_setting_is_told_in_the_servers_words(folder: Path, run: Run) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        run(folder, no_such_setting=1)


def test_a_second_owner_is_refused_while_the_first_lives(folder: Path, run: Run) -> None:
    server = run(folder)

    with pytest.raises(EmbeddedPostgresError, match=f"in use .*pid {os.getpid()}"):
        run(folder)
    assert ask(server, "SELECT 1") == 1


def test_the_server_ends_with_a_killed_owner(folder: Path) -> None:
    pid = killed_owner(folder, with_watcher=False)

    assert eventually(lambda: not is_alive(pid))


def test_a_server_left_behind_is_taken_over_and_stopped(folder: Path, run: Run) -> None:
    pid = killed_owner(folder, with_watcher=True)
    assert is_alive(pid)
    server = run(folder)
    ask(server, "SELECT 1")
    server.stop()

    assert not is_alive(pid)
    assert not (folder / "data" / "postmaster.pid").exists()


def test_a_stale_process_id_harms_nobody(folder: Path, run: Run) -> None:
    run(folder).stop()
    with subprocess.Popen(["sleep", "600"]) as bystander:
        stale = f"{bystander.pid}\n{folder}/data\n0\n5432\n{folder}/data\n\n0 0\nready\n"
        (folder / "data" / "postmaster.pid").write_text(stale)

        assert ask(run(folder), "SELECT 1") == 1
        assert bystander.poll() is None
        bystander.kill()


def test_an_interrupted_initialisation_is_begun_again(folder: Path, run: Run) -> None:
    half_made = folder / "data.new"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")

    assert ask(run(folder), "SELECT 1") == 1


def test_data_of_another_version_is_left_alone(folder: Path, run: Run) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("16\n")

    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 16"):
        run(folder)


@pytest.mark.parametrize("name", ["x" * 120, "one, two", "a 'b' \"c\" $d %20é"])
def test_any_folder_will_do(folder: Path, run: Run, name: str) -> None:
    server = run(folder / name)

    assert ask(server, "SHOW data_directory") == str(folder / name / "data")


def test_a_socket_directory_of_its_own_is_removed(folder: Path, run: Run) -> None:
    server = run(folder / ("x" * 120))
    sockets = Path(str(ask(server, "SHOW unix_socket_directories")).strip('"'))
    server.stop()

    assert sockets.name.startswith("sbm-postgres-")
    assert not sockets.exists()


def test_the_programs_are_at_hand(folder: Path, run: Run) -> None:
    server = run(folder)
    command = [str(server.bin_dir / "psql"), server.uri(), "-Atc", "SELECT 7"]

    assert subprocess.run(command, capture_output=True, check=True).stdout == b"7\n"
