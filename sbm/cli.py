"""``sbm``: the operator's commands. They read the same environment variables as the daemon.

The module of a command is imported only when the command is called. The import of all modules
would take longer than most commands do.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any

from attrs import frozen

from sbm.commands.running import (
    FAILED,
    MISUSED,
    CommandFailed,
    Work,
    discard_output,
    say,
    with_database,
)
from sbm.model.text import has_surrogates
from sbm.operations.refusals import OperationRefused
from sbm.settings.config import read_database
from sbm.settings.endpoints import DatabaseAddress
from sbm.settings.reading import ConfigError
from sbm.store.postgres.errors import DatabaseUnavailable, MigrationFailed


@frozen(kw_only=True)
class ListedCommand:
    """A command of the list: its module has ``add_arguments(parser)``."""

    name: str
    module: str
    help: str


COMMANDS = (
    ListedCommand(
        name="migrate",
        module="sbm.commands.migrate",
        help="bring the database's schema up to date",
    ),
    ListedCommand(name="user", module="sbm.commands.users", help="users of the API"),
    ListedCommand(
        name="audit",
        module="sbm.commands.audit",
        help="who changed what, and the undoing of changes",
    ),
    ListedCommand(name="token", module="sbm.commands.tokens", help="tokens for users of the API"),
    ListedCommand(
        name="failed-task",
        module="sbm.commands.failed_tasks",
        help="sends that were refused or failed",
    ),
    ListedCommand(
        name="subscriber",
        module="sbm.commands.subscribers",
        help="all that happened to a person, and what is planned",
    ),
    ListedCommand(
        name="ledger",
        module="sbm.commands.ledger",
        help="what became of each send, and the texts as sent",
    ),
    ListedCommand(
        name="simulate",
        module="sbm.commands.simulate",
        help="what goes out, and to whom nothing, before anything is sent",
    ),
    ListedCommand(
        name="delivery",
        module="sbm.commands.deliveries",
        help="what reached people's phones",
    ),
    ListedCommand(
        name="scheduler",
        module="sbm.commands.scheduler",
        help="the calls to the Seed Scheduler",
    ),
    ListedCommand(
        name="behind",
        module="sbm.commands.behind",
        help="subscriptions that have had too few messages",
    ),
    ListedCommand(
        name="silent",
        module="sbm.commands.silent",
        help="active subscriptions that no tick reaches",
    ),
    ListedCommand(name="message-set", module="sbm.commands.message_sets", help="message sets"),
    ListedCommand(
        name="subscription",
        module="sbm.commands.subscriptions",
        help="repair many subscriptions",
    ),
    ListedCommand(
        name="check",
        module="sbm.commands.checks",
        help="check that the stored data is consistent",
    ),
    ListedCommand(
        name="status",
        module="sbm.commands.status",
        help="print what the daemons do now",
    ),
    ListedCommand(
        name="restored",
        module="sbm.commands.restored",
        help="repair a database that was restored from a dump",
    ),
    ListedCommand(
        name="pause",
        module="sbm.commands.pause",
        help="send nothing of the programme, a message set, a schedule or a lane",
    ),
    ListedCommand(
        name="release",
        module="sbm.commands.release",
        help="let a tick go on that its brake or its canary holds back",
    ),
    ListedCommand(
        name="resume",
        module="sbm.commands.resume",
        help="end pauses: the daemons work and send again",
    ),
    ListedCommand(
        name="forget",
        module="sbm.commands.forget",
        help="delete everything about a person",
    ),
    ListedCommand(
        name="export",
        module="sbm.commands.export",
        help="print everything that is stored about a person",
    ),
    ListedCommand(
        name="import-django",
        module="sbm.commands.import_django",
        help="copy the data of the old service",
    ),
)


def main() -> None:
    """Run the command that the process was started with, and exit with its status."""
    try:
        status = run(sys.argv[1:], os.environ)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        discard_output()
        status = FAILED
    sys.exit(status)


def run(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    with_database: Callable[[DatabaseAddress, Work], int] = with_database,
) -> int:
    """Run a command; returns the exit status: 0, 1 if it failed, 2 if its arguments were wrong.

    ``with_database`` runs the command's work in the database.
    """
    # Surrogates stand for bytes that could not be read as text.
    if any(has_surrogates(argument) for argument in arguments):
        return _print_error("the arguments must be text in UTF-8", MISUSED)
    given = argparse.Namespace(environ=environ, with_database=with_database)
    options = _parser().parse_args(arguments, given)
    try:
        database = read_database(environ, database=options.database)
        command: Callable[[argparse.Namespace, DatabaseAddress], int] = options.command
        return command(options, database)
    except Exception as error:
        return tell(error)


def tell(error: Exception) -> int:
    """Print why a command failed, and return its exit status; raises the error if it is a bug."""
    if isinstance(error, ConfigError):
        return _print_error("\n".join(error.problems), MISUSED)
    if isinstance(error, (CommandFailed, OperationRefused, DatabaseUnavailable, MigrationFailed)):
        return _print_error(str(error).strip(), FAILED)
    raise error


def _print_error(message: str, status: int) -> int:
    say(f"sbm: {message}", file=sys.stderr)
    return status


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command. The command's arguments are added at the first use."""

    def __init__(self, *, module: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._module = module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        module, self._module = self._module, ""
        if module:
            import_module(module).add_arguments(self)
        found, rest = super().parse_known_args(args, namespace)
        # The parser of the last subcommand comes first: the audit names that one.
        if not hasattr(found, "action"):
            found.action = self.prog
        return found, rest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sbm",
        description="Operate a Seed Stage-Based Messaging Store; the daemon is `twistd sbm`.",
    )
    parser.add_argument("--version", action="version", version=f"sbm {version('sbm')}")
    parser.add_argument(
        "--database",
        metavar="URL",
        help="database URL (default: $STAGE_BASED_MESSAGING_DATABASE)",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_CommandParser)
    for command in COMMANDS:
        commands.add_parser(command.name, help=command.help, module=command.module)
    return parser
