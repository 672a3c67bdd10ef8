"""Arguments that are refused before a database is used."""

from __future__ import annotations

from sbm import cli
from sbm.commands.running import MISUSED

NOWHERE = {"STAGE_BASED_MESSAGING_DATABASE": "postgresql://nobody@/nothing?host=/nowhere"}


def misused(*arguments: str, **environ: str) -> bool:
    """Whether these arguments are misuse, wherever the database is."""
    try:
        return cli.run(arguments, NOWHERE | environ) == MISUSED
    except SystemExit as refusal:
        return refusal.code == MISUSED
