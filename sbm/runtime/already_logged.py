"""Errors that several parts of the daemon distinguish."""

from __future__ import annotations


class AlreadyLogged(Exception):
    """A failure that was logged already: a loop waits after it, and logs nothing."""
