"""The rules of all commands that work in the database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from sbm.commands import running
from sbm.commands.running import FAILED, MISUSED, OK
from sbm.model.signature import MAX_REASON
from tests.arrange import Arranged
from tests.commands.operator import COMMAND, Outcome, SbmAtOnce, process_environ
from tests.patience import patience


def test_commands_print_by_one_function_in_which_nothing_is_executed() -> None:
    folder = Path(running.__file__).parent
    for module in folder.glob("*.py"):
        calls = re.findall(r"(?<![\w.])print\(", module.read_text())
        assert len(calls) == (2 if module.name == "running.py" else 0), module


def test_what_is_said_executes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    running.say("\x1b[2J")
    running.print_above("\x9b\u202e")
    running.print_table(("A", "B"), [("\x1b", "x\ny")])
    assert capsys.readouterr().out.splitlines() == [
        "\\u001b[2J",
        "\\u009b\\u202e",
        "A       B",
        "\\u001b  x y",
    ]


def test_a_command_that_is_interrupted_says_so_and_no_more(
    database_uri: str, direct: Arranged
) -> None:
    holder = psycopg2.connect(database_uri)
    try:
        holder.cursor().execute("LOCK TABLE subscriptions")
        command = subprocess.Popen(
            [*COMMAND, "subscription", "reset-stuck", "--all"],
            env=process_environ(database_uri),
            stderr=subprocess.PIPE,
            text=True,
        )
        while not direct.value(
            "SELECT count(*) FROM pg_locks WHERE NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ):
            assert command.poll() is None
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=patience())
    finally:
        holder.close()
    assert stderr == "sbm: interrupted; the changes that were made before that stay\n"
    assert command.returncode == FAILED


def test_a_process_reads_prints_and_ends_as_its_command_says(sbm_apart: SbmAtOnce) -> None:
    create = ("user", "create", "bob", "--password-stdin")
    made = sbm_apart(*create, stdin=b"secret\n")
    assert made == Outcome(status=0, out="made user 'bob'\n", stderr="")
    again = sbm_apart(*create, stdin=b"secret\n")
    stderr = "sbm: there is a user 'bob' already\n"
    assert again == Outcome(status=FAILED, out="", stderr=stderr)
    misused = sbm_apart("user", "grant", "bob", "everything")
    assert (misused.status, misused.out) == (MISUSED, "")
    assert misused.stderr.startswith("usage: sbm user grant")


@pytest.mark.parametrize(
    ("name", "actor"),
    [
        (os.fsdecode(b"caf\xe9"), "caf?"),
        ("x" * 300, "x" * 200),
        ("  ", "unknown"),
        (" zoë ", "zoë"),
    ],
)
def test_a_strange_name_of_the_system_stops_no_command(
    sbm_apart: SbmAtOnce, direct: Arranged, name: str, actor: str
) -> None:
    made = sbm_apart("user", "create", "bob", LOGNAME=name)
    assert (made.status, made.stderr) == (OK, "")
    assert direct.value("SELECT actor FROM audit") == actor


def test_a_reason_has_a_longest_length_everywhere(sbm_apart: SbmAtOnce, direct: Arranged) -> None:
    create = ("user", "create", "bob", "--reason")
    misused = sbm_apart(*create, "x" * (MAX_REASON + 1))
    assert misused.status == MISUSED
    assert f"must have from 0 to {MAX_REASON} characters" in misused.stderr
    assert sbm_apart(*create, " ").status == OK
    assert sbm_apart("user", "disable", "bob", "--reason", "x" * MAX_REASON).status == OK
    reasons = direct.rows("SELECT reason FROM audit ORDER BY id")
    assert [one["reason"] for one in reasons] == ["", "x" * MAX_REASON]


def test_a_reader_that_has_seen_enough_is_no_defect(database_uri: str) -> None:
    """As with `sbm export ... | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-c", "from sbm.cli import main; main()", "user", "list"],
        env={**os.environ, "STAGE_BASED_MESSAGING_DATABASE": database_uri},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
