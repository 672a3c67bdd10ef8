"""Subscriptions: who gets which message set, and where they are in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import field, frozen

from sbm.model.json_text import JsonText, json_text_or_none

READY = 0
IN_PROCESS = 1
COMPLETED = 2
PROCESS_STATUSES = (-2, -1, READY, IN_PROCESS, COMPLETED)


@frozen(kw_only=True)
class Subscription:
    """The subscription of one identity to one message set.

    ``process_status`` is the value that clients see: READY is stored, and clients read IN_PROCESS
    while there is a live next send. ``metadata`` is an object or None; in older rows it can be any
    JSON.
    """

    id: UUID
    version: int
    identity: str
    messageset_id: int
    messageset_label: str
    next_sequence_number: int
    initial_sequence_number: int
    lang: str
    active: bool
    completed: bool
    schedule_id: int
    process_status: int
    metadata: JsonText | None = field(converter=json_text_or_none)
    created_at: datetime
    updated_at: datetime
    created_by: int | None
    updated_by: int | None


class Contradiction(ValueError):
    """A change that says both that a subscription is completed and that it is not."""


def consistent(changes: Mapping[str, Any], *, was_completed: bool) -> dict[str, Any]:
    """The changes as they are stored: completed, process_status and active agree.

    ``changes`` are the values that a client writes, by attribute. A completed subscription becomes
    inactive, unless the client says otherwise. Completed subscriptions have the status COMPLETED,
    and no others have it. A client may write IN_PROCESS because it has read it; READY is stored
    instead. Raises Contradiction.
    """
    completed, status = changes.get("completed"), changes.get("process_status")
    if status == COMPLETED and completed is False:
        raise Contradiction
    if completed or status == COMPLETED:
        ended = {"completed": True, "process_status": COMPLETED}
        return {"active": False} | dict(changes) | ended
    if completed is None and was_completed:
        return dict(changes) | {"process_status": COMPLETED}
    reopened = {"process_status": READY} if was_completed else {}
    ready = {"process_status": READY} if status == IN_PROCESS else {}
    return reopened | dict(changes) | ready
