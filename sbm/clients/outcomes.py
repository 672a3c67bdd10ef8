"""The ways in which a call to another service can fail."""

from __future__ import annotations

from datetime import timedelta


class Failed(Exception):
    """A call that did not do what it should.

    ``retry_after`` is what the service asked for, if it did. ``at_once`` says that the next call
    would fare no better, whatever it is about: a wrong token, a wrong address, too many requests.
    """

    def __init__(
        self, reason: str, retry_after: timedelta | None = None, *, at_once: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.at_once = at_once


class Unavailable(Failed):
    """Surely not done, and nobody's fault in particular: try again later."""


class HeldBack(Unavailable):
    """Surely not done: the caller said no in the moment when it could have begun."""


class Faulty(Unavailable):
    """A whole answer that is of no use: the service is at fault, or what it was asked about."""


class CannotBeAsked(Failed):
    """The service does not offer this question."""


class Unknown(Failed):
    """It may have been done: ask, and never do it again on suspicion."""


class Rejected(Exception):
    """Understood, and refused: trying again will fail again."""


class NotKnown(Rejected):
    """Whom it is about is not known there; or this is not the service that we take it for."""
