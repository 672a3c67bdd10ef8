"""The rules of all commands that work in the database."""

from __future__ import annotations

import signal
import subprocess

import psycopg2

from sbm.commands.running import FAILED, MISUSED
from tests.arrange import Arranged
from tests.commands.operator import COMMAND, Outcome, SbmAtOnce, process_environ
from tests.patience import patience


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
    misused = sbm_apart("user", "grant", "bob", "administer")
    assert (misused.status, misused.out) == (MISUSED, "")
    assert misused.stderr.startswith("usage: sbm user grant")
