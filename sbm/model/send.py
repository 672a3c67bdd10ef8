"""A send: one message owed to one subscriber, and its possible results."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import Literal

from attrs import field, frozen

from sbm.model.content_rules import (
    MAX_TEXT_LENGTH,
    PREPEND,
    Content,
    Medium,
    content_problems,
    joined,
    prepend_problems,
)
from sbm.model.json_text import JsonText, json_text

SendKind = Literal["next", "resend"]
Lane = Literal["single", "tick"]
Outcome = Literal["sent", "adopted", "dry-run", "skipped", "refused", "failed"]
Stage = Literal["trigger", "content", "address", "post"]

# Why a subscription has no next message.
#   content: its set has no message in its language
#   translation: the message is missing in its language, and it waits for it
#   rest: it is beyond the last message, but the content has changed too recently to complete it
#   end: it is beyond the last message
MissingContent = Literal["content", "translation", "rest", "end"]

# How long the content of a set in a language must not have changed before the subscriptions beyond
# its end are completed, unless it is set otherwise: an editor may delete a message and add another.
CONTENT_SETTLE = timedelta(hours=1)


@frozen(kw_only=True)
class Trigger:
    """The answer to a trigger for one subscription: whether it opened a send, or why not."""

    found: bool
    accepted: bool
    reason: str = ""


@frozen(kw_only=True)
class MessageToSend:
    """The message of many sends; ``file_name`` is its name below the media folder.

    What it says is written as JSON once, and not for each send.
    """

    sequence_number: int
    text_content: str | None
    file_name: str | None
    metadata: JsonText = field(converter=json_text)
    _members: dict[frozenset[str], bytes] = field(factory=dict, init=False, eq=False, repr=False)

    @property
    def size(self) -> int:
        """About how many bytes it adds to an outbound."""
        return len(self.text_content or "") + len(self.metadata.text)

    @cached_property
    def text_as_json(self) -> bytes:
        """The content of an outbound without a prepend."""
        return json.dumps(joined(None, self.text_content), ensure_ascii=False).encode()

    def members_but(self, names: frozenset[str]) -> bytes:
        """The members of the metadata as JSON, without braces; none with one of these names.

        Metadata that is no object has no members.
        """
        if names not in self._members:
            self._members[names] = self.metadata.members_but(names).encode()
        return self._members[names]


@frozen(kw_only=True)
class Recipient:
    """The subscription of a send, as it was when the send was claimed.

    For a resend, the message set and its fields are those of the message that is sent again, not
    those of the subscription. ``lack`` says why there is no next message, if there is none.
    """

    active: bool
    completed: bool
    process_status: int
    lang: str
    messageset_id: int
    messageset: str
    content_type: Literal["text", "audio"]
    channel: str | None
    message: MessageToSend | None
    lack: MissingContent | None = None

    @property
    def medium(self) -> Medium:
        """How messages are sent to it."""
        return Medium(content_type=self.content_type, channel=self.channel)


@frozen(kw_only=True)
class Send:
    """A claimed send, with all that its delivery needs.

    ``id`` is the same for every attempt; ``attempt`` and ``owner`` fence this one. ``lane`` says
    whether it was triggered for one subscription, or belongs to a tick. ``faults`` counts the
    failed calls that count against this message or person, and ``answers`` are their reasons, each
    once, oldest first. ``recipient`` is None if the subscription was deleted after the send was
    owed. ``odd_prepend`` is the JSON type of a prepend that is not a text. ``sequence_number`` is
    the number of the message; for a resend, it is the number of the message that was sent last,
    even if that message was deleted. ``schedule_id`` is the schedule of the subscription, 0 if that
    was deleted. ``installation_id`` is that of the database where it was claimed.

    ``max_rate`` is how many messages to its schedule may leave in a second, and ``leaves_for`` for
    how many seconds after the claim it may leave, None without a limit. ``is_too_old``: nobody has
    asked for it within the longest age of its schedule and message set.
    """

    id: uuid.UUID
    kind: SendKind
    lane: Lane
    schedule_id: int
    tick_id: int
    attempt: int
    owner: uuid.UUID
    faults: int
    subscription_id: uuid.UUID
    identity: str
    prepend: str | None
    recipient: Recipient | None
    answers: tuple[str, ...] = ()
    odd_prepend: str | None = None
    sequence_number: int | None = None
    installation_id: str | None = None
    max_rate: int | None = None
    leaves_for: float | None = None
    is_too_old: bool = False


@frozen(kw_only=True)
class Settled:
    """An outcome: the end of a send.

    ``is_unaddressed`` marks the subscription: its identity has no address. ``is_assumed`` says that
    the subscription steps as if the message had been sent, because it may have been. ``is_at_end``
    completes the subscription: it is beyond the end of its content. ``doubles`` are further
    outbounds of the same send, which should not exist.
    """

    outcome: Outcome
    stage: Stage
    reason: str = ""
    outbound_id: str | None = None
    is_unaddressed: bool = False
    is_assumed: bool = False
    is_at_end: bool = False
    doubles: tuple[str, ...] = ()

    @property
    def is_delivered(self) -> bool:
        """Whether the subscription steps."""
        return self.is_assumed or self.outcome in ("sent", "adopted", "dry-run")


@frozen(kw_only=True)
class GivenBack:
    """The message was surely not sent; it is owed again after ``delay``.

    ``is_fault`` says that this counts against the message or person.
    """

    reason: str
    delay: timedelta
    is_fault: bool = False


@frozen(kw_only=True)
class Unknown:
    """A POST was begun, and it is not known whether it was done.

    ``is_fault`` says that this counts against the message or person if the Message Sender does not
    have the message.
    """

    reason: str
    is_fault: bool = False


SendResult = Settled | GivenBack | Unknown


@frozen(kw_only=True)
class UnknownSend:
    """A send of unknown outcome about which the Message Sender is asked.

    ``token`` identifies this question, and fences it. ``is_late`` says that the settle time was
    over before the question: only then does the absence of the message prove anything. ``is_fault``
    says whether its absence is a fault, and ``faults`` how many faults it had before.
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
class LiveSend:
    """A send that is not settled, with the columns that are needed to settle it."""

    id: uuid.UUID
    attempt: int
    subscription_id: uuid.UUID


@frozen(kw_only=True)
class UnreadableSend:
    """A send whose row cannot be read, with the columns that can."""

    id: uuid.UUID
    attempt: int
    subscription_id: uuid.UUID


def objection(send: Send, *, max_text_length: int = MAX_TEXT_LENGTH) -> Settled | None:
    """Why a send must not be delivered, as its outcome; None if it can be sent."""
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
    if send.is_too_old:
        return _skipped("it is older than max_age")
    if recipient.message is None:
        lacking = _nothing_to_resend if send.kind == "resend" else _ended
        return lacking(send, recipient)
    return _unsendable(send, recipient, recipient.message, max_text_length)


def _nothing_to_resend(send: Send, recipient: Recipient) -> Settled:
    # The set itself may have been deleted, too.
    messageset = recipient.messageset or f"message set {recipient.messageset_id}"
    if send.sequence_number is None:
        return _lacking(
            f"there is no message to resend: no message of {messageset} is known to have been sent"
            " to the subscription"
        )
    return _lacking(
        f"message {send.sequence_number} of {messageset}, which was sent last, no longer exists"
    )


def _ended(send: Send, recipient: Recipient) -> Settled:
    if recipient.lack == "content":
        return _lacking(f"{recipient.messageset} has no message in {recipient.lang}")
    if recipient.lack == "translation":
        return Settled(
            outcome="skipped",
            stage="content",
            reason=f"message {send.sequence_number} of {recipient.messageset} is missing in"
            f" {recipient.lang}: the subscription waits for it",
        )
    reason = f"{recipient.messageset} has no further message in {recipient.lang}"
    if recipient.lack == "rest":
        return Settled(
            outcome="skipped",
            stage="content",
            reason=f"{reason}; its messages in {recipient.lang} changed a short while ago, so the"
            " subscription is not completed yet",
        )
    if recipient.lack == "end":
        reason = f"{reason}: the subscription is completed"
        return Settled(outcome="skipped", stage="content", reason=reason, is_at_end=True)
    return _lacking(reason)


def _unsendable(
    send: Send, recipient: Recipient, message: MessageToSend, max_text_length: int
) -> Settled | None:
    """The outcome if the content or the prepend breaks a rule, else None."""
    clause = _fault_of(
        message.text_content,
        message.file_name,
        recipient.content_type,
        recipient.channel,
        max_text_length,
    )
    if clause:
        return _lacking(f"message {message.sequence_number} of {recipient.messageset} {clause}")
    if send.odd_prepend is not None:
        return _lacking(f"{PREPEND} of the subscription is of the JSON type {send.odd_prepend}")
    if send.prepend is None:
        return None
    for problem in prepend_problems(
        send.prepend, recipient.medium, text=message.text_content or "", limit=max_text_length
    ):
        return _lacking(f"{PREPEND} of the subscription {problem.clause}")
    return None


@lru_cache(maxsize=128)  # the sends of a tick have a few messages
def _fault_of(
    text: str | None,
    file_name: str | None,
    content_type: str,
    channel: str | None,
    max_text_length: int,
) -> str:
    """The rule that a message breaks, as a clause; empty if it can be sent."""
    medium = Medium(content_type=content_type, channel=channel)
    content = Content(text=text, file_name=file_name, medium=medium)
    for problem in content_problems(content, limit=max_text_length):
        # Typographic characters make a message longer. That is a reason to refuse a new text, but
        # no reason to refuse to send a text that was imported.
        if problem.code != "typographic":
            return problem.clause
    return ""


def _skipped(reason: str) -> Settled:
    return Settled(outcome="skipped", stage="trigger", reason=reason)


def _lacking(reason: str) -> Settled:
    return Settled(outcome="failed", stage="content", reason=reason)
