"""``sbm``: the operator's commands. They read the same environment variables as the daemon."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from sbm.commands import (
    behind,
    checks,
    failed_tasks,
    import_django,
    message_sets,
    scheduler,
    subscriptions,
    tokens,
    users,
)
from sbm.commands.running import FAILED, MISUSED, OK, CommandFailed
from sbm.settings.config import read_database
from sbm.settings.endpoints import DatabaseAddress
from sbm.settings.reading import ConfigError
from sbm.store.postgres import migrations
from sbm.store.postgres.errors import DatabaseUnavailable, MigrationFailed
from sbm.store.users import UnknownUser

# What stands for bytes that could not be read as text, and that no database takes.
_NO_TEXT = re.compile("[\ud800-\udfff]")


def main() -> None:
    """Run the command that the process was started with, and exit with its status."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command; returns the exit status: 0, 1 when it failed, 2 when it was misused."""
    if any(_NO_TEXT.search(argument) for argument in arguments):
        return _complain("the arguments must be text in UTF-8", MISUSED)
    options = _parser().parse_args(arguments, argparse.Namespace(environ=environ))
    try:
        database = read_database(environ, database=options.database)
        command: Callable[[argparse.Namespace, DatabaseAddress], int] = options.command
        return command(options, database)
    except ConfigError as error:
        return _complain("\n".join(error.problems), MISUSED)
    except (CommandFailed, UnknownUser, DatabaseUnavailable, MigrationFailed) as error:
        return _complain(str(error).strip(), FAILED)


def _complain(message: str, status: int) -> int:
    print(f"sbm: {message}", file=sys.stderr)
    return status


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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    migrate = commands.add_parser(
        "migrate",
        help="bring the database's schema up to date",
        description="Apply the migrations that the database lacks, in order, each in a transaction."
        " Safe to repeat, and to run from several machines at once. It waits for a lock for two"
        " seconds at a time, says on standard error for whom, and tries again.",
    )
    migrate.add_argument(
        "--status", action="store_true", help="only list which are applied; exit 1 if any is not"
    )
    migrate.set_defaults(command=_migrate)

    users.add_to(commands)
    tokens.add_to(commands)
    failed_tasks.add_to(commands)
    scheduler.add_to(commands)
    behind.add_to(commands)
    message_sets.add_to(commands)
    subscriptions.add_to(commands)
    checks.add_to(commands)
    import_django.add_to(commands)
    return parser


def _migrate(options: argparse.Namespace, database: DatabaseAddress) -> int:
    if options.status:
        return _show_status(migrations.status(database.uri()))
    applied = migrations.migrate(
        database.uri(), tell=lambda message: print(f"sbm: {message}", file=sys.stderr, flush=True)
    )
    for name in applied:
        print(f"applied {name}")
    print(f"{len(applied)} applied; the schema is up to date")
    return OK


def _show_status(status: migrations.MigrationStatus) -> int:
    for name in status.applied:
        print(f"applied  {name}")
    for name in status.pending:
        print(f"pending  {name}")
    for name in status.unknown:
        print(f"unknown  {name}")
    return FAILED if status.pending or status.unknown else OK
