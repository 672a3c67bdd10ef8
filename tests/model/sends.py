"""Sends to play with."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from attrs import evolve

from sbm.model.json_text import JsonText
from sbm.model.send import MessageToSend, Recipient, Send

SEND_ID = UUID("0b0b0b0b-0000-4000-8000-000000000001")

MESSAGE = MessageToSend(sequence_number=1, text_content="one", file_name=None, metadata="{}")
RECIPIENT = Recipient(
    active=True,
    completed=False,
    process_status=0,
    lang="eng_ZA",
    messageset_id=1,
    messageset="pregnancy",
    content_type="text",
    channel=None,
    message=MESSAGE,
)


def a_send(
    *,
    message: dict[str, Any] | None = None,
    carries: bool = True,
    send: dict[str, Any] | None = None,
    **recipient: Any,
) -> Send:
    """A send of a text, but for what is said of its message, of itself and of its recipient."""
    told = dict(message or {})
    if "metadata" in told:
        told["metadata"] = JsonText.of(told["metadata"])
    carried = evolve(MESSAGE, **told) if carries else None
    made = Send(
        id=SEND_ID,
        kind="next",
        lane="tick",
        schedule_id=1,
        tick_id=1,
        attempt=1,
        owner=uuid4(),
        faults=0,
        subscription_id=uuid4(),
        identity="bbe7936a",
        prepend=None,
        recipient=evolve(RECIPIENT, **{"message": carried, **recipient}),
    )
    return evolve(made, **(send or {}))
