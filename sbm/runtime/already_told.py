"""Errors that the parts of the daemon tell each other apart by."""

from __future__ import annotations


class AlreadyTold(Exception):
    """A failure that is known to the log already: a loop that meets it waits, and adds nothing."""
