"""A send: one message owed to one subscriber, and what can become of it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Literal

from attrs import frozen

Kind = Literal["next", "resend"]
Lane = Literal["single", "tick"]
Outcome = Literal["sent", "adopted", "dry-run", "skipped", "refused", "failed"]
Stage = Literal["trigger", "content", "address", "post"]


@frozen(kw_only=True)
class Trigger:
    """The answer to a trigger for one subscription: whether it opened a send, or why not."""

    found: bool
    accepted: bool
    reason: str = ""


@frozen(kw_only=True)
class Message:
    """The message that a send carries; ``file_name`` is below the media folder."""

    sequence_number: int
    text_content: str | None
    file_name: str | None
    metadata: Any


@frozen(kw_only=True)
class Recipient:
    """The subscription of a send as it stood when the send was claimed."""

    active: bool
    completed: bool
    process_status: int
    lang: str
    messageset_id: int
    messageset: str
    content_type: Literal["text", "audio"]
    channel: str | None
    message: Message | None


@frozen(kw_only=True)
class Send:
    """A claimed send, with all that its delivery needs.

    ``id`` is the same for every attempt; ``attempt`` fences this one. ``lane`` says whether it was
    asked for by itself, or is one of a tick. ``faults`` counts the calls whose failure counts
    against this message or person, and ``answers`` are what came of them, each once, oldest first.
    ``recipient`` is None when the subscription was deleted after the send was owed.
    """

    id: uuid.UUID
    kind: Kind
    lane: Lane
    attempt: int
    faults: int
    subscription_id: uuid.UUID
    identity: str
    prepend: str | None
    recipient: Recipient | None
    answers: tuple[str, ...] = ()


@frozen(kw_only=True)
class Settled:
    """An outcome: the end of a send.

    ``is_unaddressed`` marks the subscription: there is nobody to send to. ``is_assumed`` moves it
    on as if the message had been sent, because it may have been. ``doubles`` are further outbounds
    of the same send, that should not be.
    """

    outcome: Outcome
    stage: Stage
    reason: str = ""
    outbound_id: str | None = None
    is_unaddressed: bool = False
    is_assumed: bool = False
    doubles: tuple[str, ...] = ()

    @property
    def is_delivered(self) -> bool:
        """Whether the subscription steps."""
        return self.is_assumed or self.outcome in ("sent", "adopted", "dry-run")


@frozen(kw_only=True)
class GivenBack:
    """Surely not done: owed again after ``delay``.

    ``is_fault`` counts against this message or person.
    """

    reason: str
    delay: timedelta
    is_fault: bool = False


@frozen(kw_only=True)
class Unknown:
    """A POST was begun, and nobody can say whether it was done.

    ``is_fault`` counts against this message or person if the Message Sender turns out not to have
    it.
    """

    reason: str
    is_fault: bool = False


Result = Settled | GivenBack | Unknown


@frozen(kw_only=True)
class Asked:
    """A send of unknown outcome, and the question about it.

    ``token`` is this question's, and fences it. ``is_late`` says that the settle time was over
    before it was asked: only then does absence prove anything. ``is_fault`` and ``faults`` say
    whether its absence counts against it, and how often it was at fault before.
    """

    id: uuid.UUID
    attempt: int
    token: datetime
    subscription_id: uuid.UUID
    identity: str
    first_attempt_at: datetime
    is_late: bool
    is_fault: bool = False
    faults: int = 0


@frozen(kw_only=True)
class Unread:
    """A send that cannot be read: all that is known of it."""

    id: uuid.UUID
    attempt: int
    subscription_id: uuid.UUID


def objection(send: Send) -> Settled | None:
    """Say why there is nothing to deliver, if so: the world moved on, or content is missing."""
    recipient = send.recipient
    if recipient is None:
        return _skipped("the subscription was deleted")
    if send.kind == "next":
        if recipient.completed:
            return _skipped("the subscription is completed")
        if not recipient.active:
            return _skipped("the subscription is not active")
        if recipient.process_status < 0:
            return _skipped("the subscription is in error")
    return _missing(send.kind, recipient)


def _missing(kind: Kind, recipient: Recipient) -> Settled | None:
    message = recipient.message
    if message is None and kind == "resend":
        return _lacking("there is no message that could be resent")
    if message is None:
        return _lacking(f"{recipient.messageset} has no further message in {recipient.lang}")
    if recipient.content_type == "audio" and message.file_name is None:
        return _lacking(f"message {message.sequence_number} of {recipient.messageset} has no audio")
    return None


def _skipped(reason: str) -> Settled:
    return Settled(outcome="skipped", stage="trigger", reason=reason)


def _lacking(reason: str) -> Settled:
    return Settled(outcome="failed", stage="content", reason=reason)
