"""What all commands share: exit statuses, failures, and their work in the database."""

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

from sbm.model.author import Author, new_request_id
from sbm.model.signature import MAX_REASON, Signature
from sbm.model.text import escaped, one_line
from sbm.operations.progress import Advance
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres.database import Database
from sbm.store.postgres.host_watch import HostWatch

OK, FAILED, MISUSED = 0, 1, 2

# The longest name of somebody who runs a command, in characters.
_MAX_NAME = 200

# A command's work in the database, after its options were read; returns the exit status.
Work = Callable[[Database], Awaitable[int]]
Command = Callable[[argparse.Namespace, DatabaseAddress], int]


class CommandFailed(Exception):
    """A command could not do its work; the message says why, for a person."""


class CommandInterrupted(CommandFailed):
    """The user has ended it before it was done."""


def in_database(
    read: Callable[[argparse.Namespace], Work], *, may_be_ended: bool = False
) -> Command:
    """A command: ``read`` turns its options into its work in the database.

    ``may_be_ended``: Ctrl-C is the usual end of it, and no failure.
    """

    def command(options: argparse.Namespace, address: DatabaseAddress) -> int:
        try:
            status: int = options.with_database(address, _by_author(options, read(options)))
        except CommandInterrupted:
            if may_be_ended:
                return OK
            raise
        return status

    return command


def _by_author(options: argparse.Namespace, work: Work) -> Work:
    """Work whose changes have an author in the audit."""
    author = Author(
        actor=getattr(options, "by", None) or _user(),
        action=options.action,
        reason=getattr(options, "reason", ""),
        request_id=new_request_id(),
    )

    async def by_author(database: Database) -> int:
        database.author = author
        return await work(database)

    return by_author


def with_database(address: DatabaseAddress, work: Work) -> int:
    """Run ``work`` in a reactor that ends with it. A process can do this once only.

    Raises CommandInterrupted if it was interrupted. What it had committed stays.
    """
    outcome: list[int | Exception] = []

    async def once(reactor: Any) -> None:
        watch = HostWatch(reactor=reactor, address=address)
        database = Database(reactor=reactor, address=address, size=1, watch=watch)
        try:
            outcome.append(await work(database))
        except Exception as error:
            outcome.append(error)
        finally:
            database.stopService()
            await watch.stopService()

    def begin(reactor: Any) -> Deferred[None]:
        # ``outcome`` has the result. A coroutine that was interrupted has none.
        return Deferred.fromCoroutine(once(reactor)).addErrback(lambda _failure: None)

    with suppress(SystemExit):  # how react ends
        react(begin)
    if not outcome:
        raise CommandInterrupted("interrupted; the changes that were made before that stay")
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result


@contextmanager
def progress(what: str, count: int) -> Iterator[Advance]:
    """A progress bar on standard error, if that is a terminal."""
    with tqdm(total=count, unit=f" {what}", disable=None, leave=False) as bar:
        yield bar.update


def say(
    text: object = "", *, file: IO[str] | None = None, end: str = "\n", flush: bool = False
) -> None:
    """Print a text, in which a terminal executes nothing: other services and clients wrote it."""
    print(escaped(str(text)), file=file, end=end, flush=flush)


def print_above(line: str) -> None:
    """Print a line above the progress bar."""
    tqdm.write(escaped(line), file=sys.stdout)


def discard_output() -> None:
    """Print nothing more, not even at the end: the reader has closed standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_signature(verb: argparse.ArgumentParser, *, is_reason_required: bool = False) -> None:
    """Add the options ``--by`` and ``--reason``, for the ledger and the audit."""
    verb.add_argument("--by", metavar="NAME", type=_name, help="who does it (default: you)")
    verb.add_argument(
        "--reason",
        metavar="TEXT",
        default="",
        required=is_reason_required,
        type=_reason if is_reason_required else _optional_reason,
        help="why it is done",
    )


def signature_from(options: argparse.Namespace) -> Signature:
    """Who does it, and why, from the options; the default name is that of the system's user."""
    return Signature(actor=options.by or _user(), reason=options.reason)


def _user() -> str:
    """The system's user. A name that cannot be stored is changed: it must not stop the command."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in a container
        name = ""
    # The environment may hold any bytes; those that are not UTF-8 become question marks.
    name = name.encode("utf-8", "replace").decode("utf-8")
    return name.strip()[:_MAX_NAME] or "unknown"


def _reason(text: str) -> str:
    return _bounded(text, longest=MAX_REASON)


def _optional_reason(text: str) -> str:
    return _bounded(text, longest=MAX_REASON, shortest=0)


def _name(text: str) -> str:
    return _bounded(text, longest=_MAX_NAME)


def _bounded(text: str, *, longest: int, shortest: int = 1) -> str:
    if not shortest <= len(text.strip()) <= longest:
        raise argparse.ArgumentTypeError(f"must have from {shortest} to {longest} characters")
    return text.strip()


def print_table(
    heading: Sequence[str], rows: Iterable[Sequence[str]], *, file: IO[str] | None = None
) -> None:
    """Print rows in columns that are as wide as necessary; ``-`` stands for an empty value.

    Each row is one line, whatever is in its cells.
    """
    lines = [heading, *([one_line(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip(), file=file)
