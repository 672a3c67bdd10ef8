"""The ways in which a call to another service can fail."""

from __future__ import annotations

from datetime import timedelta


class Failed(Exception):
    """A call that failed.

    ``retry_after`` is how long the service asks all clients to wait, if it does. ``at_once`` says
    that the next call would fail as well, whatever it is about. ``hint`` is a question to the
    operator, for the case that all calls fail in this way.
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
    """The call surely had no effect, because of the service: try again later."""


class HeldBack(Unavailable):
    """The call surely had no effect: the caller refused to begin it at the last moment."""


class Faulty(Unavailable):
    """A useless answer: its cause is the service, or the thing that it was asked about."""


class TooManyPages(Faulty):
    """A list goes on beyond what one question may read: what was not read is not known."""


class Unanswered(Unavailable):
    """No complete answer: its cause is the service, or the thing that it was asked about."""


class CannotBeAsked(Failed):
    """The service does not offer this question."""


class OutcomeUnknown(Failed):
    """The call may have had its effect: ask whether it had, and do not repeat it before that.

    ``may_be_theirs`` says that the failure (an answer, a lost connection, no answer in time) may be
    caused by the message or person that the call was about. It is not if the service asks all
    clients to wait, or if the caller canceled the call.
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


class AnswerTooLong(OutcomeUnknown):
    """The answer was larger than a limit, and was not read to its end.

    ``kind`` says which limit, for a counter. If it has the status of an error, it is cut instead:
    then the status is what counts.
    """

    def __init__(self, reason: str, *, kind: str = "bytes") -> None:
        super().__init__(reason)
        self.kind = kind


class Rejected(Exception):
    """The service understood the call and refused it: the same call would fail again."""


class NotKnown(Rejected):
    """The service does not know the thing that the call is about, or is the wrong service."""
