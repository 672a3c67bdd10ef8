"""``sbm subscription``: repairs of many subscriptions, a few in each transaction."""

from __future__ import annotations

from typing import Any

from sbm.commands import duplicates, prepends, stuck


def add_to(commands: Any) -> None:
    """Add ``subscription`` and what can be done with many to the commands of a parser."""
    parser = commands.add_parser("subscription", help="repairs of many subscriptions")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    duplicates.add_to(verbs)
    stuck.add_to(verbs)
    prepends.add_to(verbs)
