"""An operator, who runs commands: in this process, or in one of their own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from attrs import frozen
from twisted.internet import reactor

from sbm import cli
from sbm.commands.running import OK, Work
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from tests.patience import patience

ROOT = Path(__file__).parents[2]
DATABASE = "STAGE_BASED_MESSAGING_DATABASE"
COMMAND = (sys.executable, "-c", "from sbm.cli import main; main()")


@frozen(kw_only=True)
class Outcome:
    """How a command ended, and what it said."""

    status: int
    out: str
    stderr: str


Sbm = Callable[..., Awaitable[Outcome]]
SbmAtOnce = Callable[..., Outcome]


async def run_here(
    *arguments: str, database_uri: str, stdin: bytes = b"", **environ: str
) -> Outcome:
    """Run ``sbm`` in this process: all of it, but for the start of a reactor and the end."""
    with _said(stdin) as (out, stderr):
        status, begun = _begin(arguments, os.environ | {DATABASE: database_uri} | environ)
        for address, work in begun:
            database = Database(reactor=reactor, address=address, size=1)
            try:
                status = await work(database)
            except Exception as error:
                status = cli.tell(error)
            finally:
                database.stopService()
    return Outcome(status=status, out=out.getvalue(), stderr=stderr.getvalue())


def run_at_once(*arguments: str, database_uri: str, **environ: str) -> Outcome:
    """Run ``sbm`` in this process with a command that needs no reactor."""
    with _said(b"") as (out, stderr):
        status, begun = _begin(arguments, os.environ | {DATABASE: database_uri} | environ)
    assert begun == []
    return Outcome(status=status, out=out.getvalue(), stderr=stderr.getvalue())


def run_apart(*arguments: str, database_uri: str, stdin: bytes = b"", **environ: str) -> Outcome:
    """Run ``sbm`` in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=patience(),
        env=process_environ(database_uri) | environ,
    )
    return Outcome(status=done.returncode, out=done.stdout.decode(), stderr=done.stderr.decode())


def process_environ(database_uri: str) -> dict[str, str]:
    """The environment of a process that is given a database."""
    return os.environ | {"PYTHONPATH": str(ROOT), DATABASE: database_uri}


def _begin(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[int, list[tuple[DatabaseAddress, Work]]]:
    """The status of a command, or what it has still to do in a database."""
    begun: list[tuple[DatabaseAddress, Work]] = []

    def begin(address: DatabaseAddress, work: Work) -> int:
        begun.append((address, work))
        return OK

    interruption = signal.getsignal(signal.SIGINT)
    try:
        return cli.run(arguments, environ, with_database=begin), begun
    except SystemExit as refusal:
        return int(refusal.code or OK), begun
    finally:
        signal.signal(signal.SIGINT, interruption)  # an import lets it end the process


@contextmanager
def _said(stdin: bytes) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """The standard output and the standard error of a command in this process."""
    out, stderr = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        redirect_stdout(out),
        redirect_stderr(stderr),
    ):
        yield out, stderr
