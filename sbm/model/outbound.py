"""The requests to the Message Sender to send a message."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sbm.model.content_rules import joined
from sbm.model.send import MessageToSend, Recipient, Send

# The Message Sender accepts no id, but it stores metadata unchanged and lists it. The id of a send
# is stored there under this key, so that the send can be found again.
SEND_KEY = "sbm_send_id"


def compose(send: Send, to_addr: str, media_url: str) -> dict[str, Any]:
    """The body of ``POST /outbound/`` for a send to which there is no objection.

    The keys are in the order in which they are sent. ``media_url`` is the public URL of the media
    folder, without a slash at its end.
    """
    recipient = send.recipient
    if recipient is None or recipient.message is None:
        raise ValueError(f"send {send.id} has no message")
    outbound: dict[str, Any] = {
        "to_addr": to_addr,
        "to_identity": send.identity,
        "delivered": "false",
        "resend": "true" if send.kind == "resend" else "false",
        "metadata": _metadata(send, recipient, recipient.message, media_url),
    }
    if recipient.channel:
        outbound["channel"] = recipient.channel
    if recipient.content_type == "text":
        outbound["content"] = joined(send.prepend, recipient.message.text_content)
    return outbound


def _metadata(
    send: Send, recipient: Recipient, message: MessageToSend, media_url: str
) -> dict[str, Any]:
    own = message.metadata if isinstance(message.metadata, dict) else {}
    metadata = dict(own)
    if message.file_name is not None:
        url = f"{media_url}/{quote(message.file_name)}"
        if recipient.content_type == "text":
            metadata["image_url"] = url
        else:
            metadata["voice_speech_url"] = [send.prepend, url] if send.prepend else [url]
    # It comes last, so that the metadata of the message cannot override it.
    metadata[SEND_KEY] = str(send.id)
    return metadata
