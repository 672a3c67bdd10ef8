"""``sbm subscription``: repairs of many subscriptions, a few in each transaction."""

from __future__ import annotations

import argparse

from sbm.commands import duplicates, prepends, stuck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``subscription`` to its parser."""
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    duplicates.add_to(verbs)
    stuck.add_to(verbs)
    prepends.add_to(verbs)
