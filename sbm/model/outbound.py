"""The requests to the Message Sender to send a message."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from attrs import frozen

from sbm.model.content_rules import joined
from sbm.model.failed_task import MAX_IDENTITY
from sbm.model.send import MessageToSend, Recipient, Send
from sbm.model.service_values import service_id, service_moment, service_number, service_text
from sbm.model.text import one_line

# The Message Sender accepts no id, but it stores metadata unchanged and lists it. The id of a send
# is stored there under this key, so that the send can be found again.
SEND_KEY = "sbm_send_id"

# What else is stored there. If the database is restored from a dump, it says what was sent since.
INSTALLATION_KEY = "sbm_installation_id"
SUBSCRIPTION_KEY = "sbm_subscription_id"
MESSAGESET_KEY = "sbm_messageset_id"
NUMBER_KEY = "sbm_sequence_number"
LANG_KEY = "sbm_lang"

_LONGEST_LANG = 6

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# So many characters of the reason of a network are kept.
LONGEST_NACK_REASON = 200


@frozen(kw_only=True)
class OwnOutbound:
    """An outbound as the Message Sender lists it, if it is that of a send of an installation.

    ``created_at`` is by the clock of the Message Sender. The message is None if it is not said.
    ``attempts`` are those of the Message Sender, None if it does not count them; ``nack_reason``
    says why the network has refused it, if it has.
    """

    id: str
    created_at: datetime
    identity: str
    kind: Literal["next", "resend"]
    send_id: UUID
    installation_id: UUID
    subscription_id: UUID
    messageset_id: int | None
    sequence_number: int | None
    lang: str | None
    is_delivered: bool = False
    attempts: int | None = None
    nack_reason: str | None = None


def compose(send: Send, to_addr: str, media_url: str) -> bytes:
    """The body of ``POST /outbound/`` for a send to which there is no objection.

    ``media_url`` is the public URL of the media folder, without a slash at its end. What the
    message says is written as JSON once for all of its sends.
    """
    recipient = send.recipient
    if recipient is None or recipient.message is None:
        raise ValueError(f"send {send.id} has no message")
    person = {
        "to_addr": to_addr,
        "to_identity": send.identity,
        "delivered": "false",
        "resend": "true" if send.kind == "resend" else "false",
    }
    added = _added(send, recipient, recipient.message, media_url)
    # Ours come last, and the metadata of the message cannot override them.
    members = [recipient.message.members_but(frozenset(added)), _members(added)]
    outbound = [_members(person), b'"metadata":{%s}' % b",".join(filter(None, members))]
    if recipient.channel:
        outbound.append(_members({"channel": recipient.channel}))
    if recipient.content_type == "text":
        outbound.append(b'"content":%s' % _content(send.prepend, recipient.message))
    return b"{%s}" % b",".join(outbound)


def _added(
    send: Send, recipient: Recipient, message: MessageToSend, media_url: str
) -> dict[str, Any]:
    """What the metadata of an outbound have besides those of the message."""
    added: dict[str, Any] = {}
    if message.file_name is not None:
        url = f"{media_url}/{quote(message.file_name)}"
        if recipient.content_type == "text":
            added["image_url"] = url
        else:
            added["voice_speech_url"] = [send.prepend, url] if send.prepend else [url]
    added[SEND_KEY] = str(send.id)
    if send.installation_id is not None:
        added[INSTALLATION_KEY] = send.installation_id
    added[SUBSCRIPTION_KEY] = str(send.subscription_id)
    added[MESSAGESET_KEY] = recipient.messageset_id
    added[NUMBER_KEY] = message.sequence_number
    added[LANG_KEY] = recipient.lang
    return added


def _content(prepend: str | None, message: MessageToSend) -> bytes:
    if not prepend:
        return message.text_as_json
    return _encoded(joined(prepend, message.text_content))


def _members(values: dict[str, Any]) -> bytes:
    return _encoded(values)[1:-1]


def _encoded(value: Any) -> bytes:
    # A lone surrogate cannot be encoded in UTF-8; its backslash form is an escape in JSON.
    return _to_json(value).encode("utf-8", "backslashreplace")


def own_outbound(row: Any) -> OwnOutbound | None:
    """Read a row of the Message Sender's list; None if it is not of a send of an installation."""
    try:
        metadata = row["metadata"]
        number, messageset_id, lang = (
            metadata.get(key) for key in (NUMBER_KEY, MESSAGESET_KEY, LANG_KEY)
        )
        return OwnOutbound(
            id=service_id(row["id"]),
            created_at=service_moment(row["created_at"], zone=timezone.utc),
            identity=service_text(row["to_identity"], longest=MAX_IDENTITY),
            kind="resend" if row["resend"] in (True, "true") else "next",
            send_id=UUID(metadata[SEND_KEY]),
            installation_id=UUID(metadata[INSTALLATION_KEY]),
            subscription_id=UUID(metadata[SUBSCRIPTION_KEY]),
            messageset_id=service_number(messageset_id),
            sequence_number=service_number(number),
            lang=lang if isinstance(lang, str) and len(lang) <= _LONGEST_LANG else None,
            is_delivered=row.get("delivered") in (True, "true"),
            attempts=service_number(row.get("attempts")),
            nack_reason=_reason(metadata.get("nack_reason")),
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None  # other clients store any JSON there


def _reason(told: Any) -> str | None:
    """A reason of the network: any JSON, of which the beginning counts."""
    if told in (None, ""):
        return None
    text = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    return one_line(text, most=LONGEST_NACK_REASON)
