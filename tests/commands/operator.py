"""An operator, who runs commands: in this process, or in one of their own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import frozen
from twisted.internet import reactor as this_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from sbm import cli
from sbm.commands.running import Work
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database

ROOT = Path(__file__).parents[2]
DATABASE = "STAGE_BASED_MESSAGING_DATABASE"
COMMAND = (sys.executable, "-c", "from sbm.cli import main; main()")


@frozen(kw_only=True)
class Outcome:
    """How a command ended, and what it said."""

    status: int
    out: str
    complaint: str


Sbm = Callable[..., Awaitable[Outcome]]
SbmAtOnce = Callable[..., Outcome]


def run_at_once(*arguments: str, database_uri: str, stdin: bytes = b"", **environ: str) -> Outcome:
    """Run ``sbm`` in this process: all of it, but for the reactor and the end of a process.

    A command that works in the reactor needs another thread than the reactor's: see ``run_here``.
    """
    out, complaint = io.StringIO(), io.StringIO()
    interruption = signal.getsignal(signal.SIGINT)
    try:
        with (
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            redirect_stdout(out),
            redirect_stderr(complaint),
        ):
            status = cli.run(
                arguments,
                os.environ | {DATABASE: database_uri} | environ,
                with_database=_in_the_reactor,
            )
    except SystemExit as refusal:
        status = int(refusal.code or 0)
    finally:
        if signal.getsignal(signal.SIGINT) is not interruption:
            signal.signal(signal.SIGINT, interruption)  # an import lets it end the process
    return Outcome(status=status, out=out.getvalue(), complaint=complaint.getvalue())


async def run_here(*arguments: str, **how: Any) -> Outcome:
    """Run ``sbm`` in a thread of this process, and what it does in the database in the reactor."""
    outcome: Outcome = await deferToThread(run_at_once, *arguments, **how)
    return outcome


def run_apart(*arguments: str, database_uri: str, stdin: bytes = b"", **environ: str) -> Outcome:
    """Run ``sbm`` in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env=process_environ(database_uri) | environ,
    )
    return Outcome(status=done.returncode, out=done.stdout.decode(), complaint=done.stderr.decode())


def process_environ(database_uri: str) -> dict[str, str]:
    """The environment of a process that is given a database."""
    return os.environ | {"PYTHONPATH": str(ROOT), DATABASE: database_uri}


def _in_the_reactor(address: DatabaseAddress, work: Work) -> int:
    reactor: Any = this_reactor

    async def once() -> int:
        database = Database(reactor, address, 1)
        try:
            return await work(database)
        finally:
            database.stopService()

    begin: Any = partial(Deferred.fromCoroutine, once())
    status: int = blockingCallFromThread(reactor, begin)
    return status
