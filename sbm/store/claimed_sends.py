"""Claimed sends, of the columns of a claim and of the contents of their messages."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from sbm.model.send import MessageToSend, MissingContent, Recipient, Send


def content(*, id: int, **columns: Any) -> tuple[int, MessageToSend]:  # noqa: A002  # the column
    """The version of a message, and what it says."""
    return id, MessageToSend(**columns)


def claimed_send(
    owner: uuid.UUID,
    contents: Mapping[int, MessageToSend],
    *,
    subscribed: bool,
    answers: list[str],
    version_id: int | None,
    **columns: Any,
) -> Send:
    """A send that ``owner`` has claimed; ``contents`` are those of the versions of messages."""
    own = {name: columns.pop(name) for name in _RECIPIENT_COLUMNS}
    claimed_number = columns.pop("claimed_number")
    del columns["sequence_number"]  # that of the version
    message = None if version_id is None else contents[version_id]
    return Send(
        owner=owner,
        recipient=recipient(message=message, **own) if subscribed else None,
        answers=tuple(answers),
        sequence_number=claimed_number,
        **columns,
    )


def recipient(
    *,
    active: bool,
    completed: bool,
    process_status: int,
    lang: str,
    messageset_id: int,
    short_name: str,
    content_type: Literal["text", "audio"],
    channel: str | None,
    lack: MissingContent | None,
    message: MessageToSend | None,
) -> Recipient:
    """A subscription with the message that is next, of the columns of a claim."""
    return Recipient(
        active=active,
        completed=completed,
        process_status=process_status,
        lang=lang,
        messageset_id=messageset_id,
        messageset=short_name,
        content_type=content_type,
        channel=channel,
        message=message,
        lack=lack,
    )


_RECIPIENT_COLUMNS = tuple(
    name for name in inspect.signature(recipient).parameters if name != "message"
)
