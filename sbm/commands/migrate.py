"""``sbm migrate``: bring the schema up to date."""

from __future__ import annotations

import argparse
import sys

from sbm.commands.running import FAILED, OK, say
from sbm.settings.endpoints import DatabaseAddress
from sbm.store.postgres import migrations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``migrate`` to its parser."""
    parser.description = (
        "Apply the migrations that the database lacks, in order, each in a transaction."
        " Safe to repeat, and to run from several machines at once. It waits for a lock for two"
        " seconds at a time, prints on standard error for which process, and tries again."
    )
    parser.add_argument(
        "--status",
        action="store_true",
        help="only list the migrations; exit with 1 if any is not applied",
    )
    parser.set_defaults(command=_migrate)


def _migrate(options: argparse.Namespace, database: DatabaseAddress) -> int:
    if options.status:
        return _show_status(migrations.status(database.uri()))
    applied = migrations.migrate(
        database.uri(), tell=lambda message: say(f"sbm: {message}", file=sys.stderr, flush=True)
    )
    for name in applied:
        say(f"applied {name}")
    say(f"{len(applied)} applied; the schema is up to date")
    return OK


def _show_status(status: migrations.MigrationStatus) -> int:
    for name in status.applied:
        say(f"applied  {name}")
    for name in status.pending:
        say(f"pending  {name}")
    for name in status.unknown:
        say(f"unknown  {name}")
    return FAILED if status.pending or status.unknown else OK
