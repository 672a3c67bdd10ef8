"""What every command needs: its exit status, its failure, its work in the database."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from tqdm import tqdm
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from sbm.model.signature import Signature
from sbm.operations.progress import Advance
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database

OK, FAILED, MISUSED = 0, 1, 2

# What a command does in the database, once its options are read; returns its exit status.
Work = Callable[[Database], Awaitable[int]]
Command = Callable[[argparse.Namespace, DatabaseAddress], int]


class CommandFailed(Exception):
    """A command could not do its work; the message says why, for a person."""


def in_database(read: Callable[[argparse.Namespace], Work]) -> Command:
    """The command whose options ``read`` makes into its work in the database."""

    def command(options: argparse.Namespace, address: DatabaseAddress) -> int:
        status: int = options.with_database(address, read(options))
        return status

    return command


def with_database(address: DatabaseAddress, work: Work) -> int:
    """Run ``work`` in a reactor that ends with it. So a process can do this once.

    Raises CommandFailed where it was interrupted: what it had committed stays done.
    """
    outcome: list[int | Exception] = []

    async def once(reactor: Any) -> None:
        database = Database(reactor=reactor, address=address, size=1)
        try:
            outcome.append(await work(database))
        except Exception as error:
            outcome.append(error)
        finally:
            database.stopService()

    def begin(reactor: Any) -> Deferred[None]:
        # What came of it lies in outcome; a coroutine that is broken off has nothing to say.
        return Deferred.fromCoroutine(once(reactor)).addErrback(lambda _failure: None)

    with suppress(SystemExit):  # how react ends
        react(begin)
    if not outcome:
        raise CommandFailed("interrupted; what was done until then stays done")
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result


@contextmanager
def progress(what: str, count: int) -> Iterator[Advance]:
    """How far it has come, on standard error, if that is a terminal."""
    with tqdm(total=count, unit=f" {what}", disable=None, leave=False) as bar:
        yield bar.update


def print_above(line: str) -> None:
    """Print a line while progress is shown, which stays below it."""
    tqdm.write(line, file=sys.stdout)


def stop_telling() -> None:
    """Whoever was reading has seen enough: nothing more is said, not even at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_signature(verb: argparse.ArgumentParser) -> None:
    """Add the options that say who does it, and why, for the ledger and the audit."""
    verb.add_argument("--by", metavar="NAME", type=_name, help="who does it (default: you)")
    verb.add_argument("--reason", metavar="TEXT", default="", help="why it is done")


def signature_from(options: argparse.Namespace) -> Signature:
    """Who does it, and why: as the options say, or else as the machine knows the user."""
    return Signature(actor=options.by or _user(), reason=options.reason)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in a container
        return "unknown"


def _name(text: str) -> str:
    if not 0 < len(text.strip()) <= 200:
        raise argparse.ArgumentTypeError("must have from 1 to 200 characters")
    return text.strip()


def print_table(
    heading: Sequence[str], rows: Iterable[Sequence[str]], *, file: IO[str] | None = None
) -> None:
    """Print rows in columns that are as wide as they have to be; nothing stands for ``-``."""
    lines = [heading, *([cell or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip(), file=file)
