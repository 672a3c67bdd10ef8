"""``sbm``: the operator's commands. They read the same environment variables as the daemon."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from sbm.addresses import DatabaseAddress
from sbm.config import ConfigError, read_database
from sbm.store import migrations, users
from sbm.store.database import Database
from sbm.store.errors import DatabaseUnavailable, MigrationFailed

OK, FAILED, MISUSED = 0, 1, 2


class CommandFailed(Exception):
    """A command could not do its work; the message says why, for a person."""


def main() -> None:
    """Run the command that the process was started with, and exit with its status."""
    sys.exit(run(sys.argv[1:], os.environ))


def run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command; returns the exit status: 0, 1 when it failed, 2 when it was misused."""
    options = _parser().parse_args(arguments)
    try:
        database = read_database(environ, database=options.database)
        command: Callable[[argparse.Namespace, DatabaseAddress], int] = options.command
        return command(options, database)
    except ConfigError as error:
        return _complain("\n".join(error.problems), MISUSED)
    except (CommandFailed, DatabaseUnavailable, MigrationFailed) as error:
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
        " Safe to repeat, and to run from several machines at once.",
    )
    migrate.add_argument(
        "--status", action="store_true", help="only list which are applied; exit 1 if any is not"
    )
    migrate.set_defaults(command=_migrate)

    token = commands.add_parser("token", help="tokens for users of the API")
    token_commands = token.add_subparsers(required=True, metavar="COMMAND")
    create = token_commands.add_parser(
        "create",
        help="make a token for a user, and the user where there is none",
        description="Print a new token. It is stored hashed and cannot be shown again; older tokens"
        " of the user stay valid.",
    )
    create.add_argument("email", metavar="EMAIL", help="e-mail address; it is the user's name too")
    create.add_argument("--admin", action="store_true", help="make the user an administrator")
    create.set_defaults(command=_create_token)
    return parser


def _migrate(options: argparse.Namespace, database: DatabaseAddress) -> int:
    if options.status:
        return _show_status(migrations.status(database.uri()))
    applied = migrations.migrate(database.uri())
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


def _create_token(options: argparse.Namespace, address: DatabaseAddress) -> int:
    try:
        token = _in_reactor(address, users.create_token, email=options.email, admin=options.admin)
    except ValueError as error:
        raise CommandFailed(f"EMAIL {error}") from None
    print(token)
    return OK


def _in_reactor(address: DatabaseAddress, work: Any, **arguments: Any) -> Any:
    """Run one store function in a transaction of its own, in a reactor that ends with it."""
    outcome: list[Any] = []

    async def once(reactor: Any) -> None:
        database = Database(reactor, address, 1)
        try:
            outcome.append(await database.transact(work, **arguments))
        except Exception as error:
            outcome.append(error)
        finally:
            database.stopService()

    with suppress(SystemExit):  # how react ends; what came of it lies in outcome
        react(lambda reactor: Deferred.fromCoroutine(once(reactor)))
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result
