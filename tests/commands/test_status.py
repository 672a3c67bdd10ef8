"""``sbm status``, as a process that is ended by its user or by its reader."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from sbm.commands.running import OK
from tests.commands.operator import COMMAND, process_environ
from tests.patience import patience


@pytest.fixture
def watching(database_uri: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "status", "--watch", "--json"],
        env=process_environ(database_uri),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_is_its_usual_end(watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["is_sending"] is False
    watching.send_signal(signal.SIGINT)
    _, stderr = watching.communicate(timeout=patience())
    assert (watching.returncode, stderr) == (OK, "")


def test_so_is_a_reader_that_has_seen_enough(watching: subprocess.Popen[str]) -> None:
    assert watching.stdout is not None
    assert watching.stderr is not None
    watching.stdout.readline()
    watching.stdout.close()
    watching.wait(timeout=patience())
    assert (watching.returncode, watching.stderr.read()) == (OK, "")
    watching.stderr.close()
