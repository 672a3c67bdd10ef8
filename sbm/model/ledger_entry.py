"""A row of the ledger: what became of one send; and the filters of its list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from attrs import field, frozen

from sbm.model.json_text import JsonText, json_text
from sbm.model.send import Stage

LedgerOutcome = Literal["sent", "adopted", "dry-run", "skipped", "refused", "failed", "moved"]
LedgerKind = Literal["next", "resend", "move"]

OUTCOMES: tuple[LedgerOutcome, ...] = get_args(LedgerOutcome)
STAGES: tuple[Stage, ...] = get_args(Stage)

# All others are few: the database has indexes of them alone.
SENT: tuple[LedgerOutcome, ...] = ("sent", "adopted", "dry-run")

# The kinds of reasons, as the function reason_kind of the database tells them, in plain words.
REASON_KINDS: Mapping[str, str] = {
    "paused": "it was paused when the tick came",
    "too-old": "it was too late for the message",
    "stopped": "a person stopped the tick",
    "already-owed": "another message was still being sent to the person",
    "completed": "the subscription was completed",
    "inactive": "the subscription was not active",
    "in-error": "the subscription was in error",
    "deleted": "the subscription was deleted",
    "no-language": "the message set has no message in the language",
    "no-translation": "the message is not translated, and the subscription waits for it",
    "at-end": "the subscription is beyond the last message",
    "content": "the message or the prepend cannot be sent",
    "no-address": "the person has no address",
    "refused": "the Message Sender refused the message",
    "failed": "the calls to another service failed",
    "moved": "an operator or a repair moved the subscription",
    "other": "another reason",
}


@frozen(kw_only=True)
class LedgerEntry:
    """A row of the ledger.

    ``message_version_id`` is the content that was sent; ``prepend`` was sent before it.
    ``delivered``, ``delivery_attempts`` and ``nack_reason`` are what the Message Sender said later;
    None: it was not asked yet, or does not know.
    """

    id: int
    settled_at: datetime
    send_id: UUID
    tick_id: int | None
    kind: LedgerKind
    outcome: LedgerOutcome
    stage: Stage
    reason: str
    reason_kind: str | None
    subscription_id: UUID
    identity: str
    messageset_id: int | None
    sequence_number: int | None
    lang: str | None
    attempts: int
    outbound_id: str | None
    owed_at: datetime
    first_attempt_at: datetime | None
    actor: str | None
    message_version_id: int | None
    prepend: str | None
    delivered: bool | None
    delivery_attempts: int | None
    nack_reason: str | None

    @property
    def key(self) -> tuple[datetime, int]:
        """Its place in the list, which begins with the newest."""
        return self.settled_at, self.id


@frozen(kw_only=True)
class LedgerFilter:
    """Filters of the list; None is no filter. The times are aware and inclusive."""

    identity: str | None = None
    subscription_id: UUID | None = None
    tick_id: int | None = None
    messageset_id: int | None = None
    sequence_number: int | None = None
    lang: str | None = None
    message_version_id: int | None = None
    outcome: LedgerOutcome | None = None
    stage: Stage | None = None
    reason_kind: str | None = None
    delivered: bool | None = None
    settled_after: datetime | None = None
    settled_before: datetime | None = None


@frozen(kw_only=True)
class MessageVersion:
    """A content that a message has had; until ``replaced_at``, if it was replaced."""

    id: int
    message_id: int
    messageset_id: int
    sequence_number: int
    lang: str
    text_content: str | None
    file_name: str | None
    metadata: JsonText = field(converter=json_text)
    made_at: datetime
    made_by: str | None
    replaced_at: datetime | None
