"""The ways in which a call to another service can fail."""

from __future__ import annotations

from datetime import timedelta


class Failed(Exception):
    """A call that did not do what it should.

    ``retry_after`` is how long the service asks everybody to wait, if it does. ``at_once`` says
    that the next call would fail as well, whatever it is about. ``hint`` is a question for the
    operator, for the case that all calls are answered like this.
    """

    def __init__(
        self,
        reason: str,
        retry_after: timedelta | None = None,
        *,
        at_once: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.at_once = at_once
        self.hint = hint


class Unavailable(Failed):
    """Surely not done, and nobody's fault in particular: try again later."""


class HeldBack(Unavailable):
    """Surely not done: the caller said no in the moment when it could have begun."""


class Faulty(Unavailable):
    """An answer that is of no use: the service is at fault, or what it was asked about."""


class Unanswered(Unavailable):
    """A question without a whole answer: the service is at fault, or what it was asked about."""


class CannotBeAsked(Failed):
    """The service does not offer this question."""


class Unknown(Failed):
    """It may have been done: ask, and never do it again on suspicion.

    ``may_be_theirs``: what was seen (an answer, a broken connection, no answer in time) may be due
    to what the call was about. It is not if the service asks everybody to wait, or if the caller
    broke the call off.
    """

    def __init__(
        self,
        reason: str,
        retry_after: timedelta | None = None,
        *,
        at_once: bool = False,
        hint: str = "",
        may_be_theirs: bool = True,
    ) -> None:
        super().__init__(reason, retry_after, at_once=at_once, hint=hint)
        self.may_be_theirs = may_be_theirs


class AnswerTooLong(Unknown):
    """An answer of more than the size that is read, which was broken off."""


class Rejected(Exception):
    """Understood, and refused: trying again will fail again."""


class NotKnown(Rejected):
    """Whom it is about is not known there; or this is not the service that we take it for."""
