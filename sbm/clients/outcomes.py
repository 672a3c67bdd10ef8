"""The three ways in which a call to another service can fail."""

from __future__ import annotations

from datetime import timedelta


class Unavailable(Exception):
    """Surely not done, and nobody's fault in particular: try again later.

    ``retry_after`` is what the service asked for, if it did.
    """

    def __init__(self, reason: str, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class HeldBack(Unavailable):
    """Surely not done: the caller said no in the moment when it could have begun."""


class Unknown(Exception):
    """It may have been done: ask, and never do it again on suspicion."""


class Rejected(Exception):
    """Understood, and refused: trying again will fail again."""
