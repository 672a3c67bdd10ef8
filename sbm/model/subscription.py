"""Who gets which message set, and where she stands in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import frozen

READY = 0
IN_PROCESS = 1
COMPLETED = 2
PROCESS_STATUSES = (-2, -1, READY, IN_PROCESS, COMPLETED)


@frozen(kw_only=True)
class Subscription:
    """One identity's way through one message set.

    ``process_status`` is as others see it: READY is stored, and reads IN_PROCESS while there is a
    live next send. ``metadata`` is JSON, an object or None; older rows hold anything.
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
    metadata: Any
    created_at: datetime
    updated_at: datetime
    created_by: int | None
    updated_by: int | None


class Contradiction(ValueError):
    """A change that says of a subscription that it is completed, and that it is not."""


def consistent(changes: Mapping[str, Any], *, was_completed: bool) -> dict[str, Any]:
    """The changes as they are stored: completed, process_status and active go together.

    ``changes`` holds what a client writes, by attribute. Completing ends the activity, unless the
    client says otherwise, and COMPLETED is the status of the completed alone. IN_PROCESS, which a
    client may write back as it read it, is stored as READY. Raises Contradiction.
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
