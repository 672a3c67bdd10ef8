"""Work that a client asks for and does not wait for."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from attrs import frozen

from sbm.model.failed_task import EVERYTHING, Wanted

Kind = Literal[
    "requeue-failed-tasks", "estimate-sends", "find-behind-subscriptions", "sync-audio-files"
]


@frozen(kw_only=True)
class Task:
    """A task that was taken up; of a requeue, ``up_to`` and ``wanted`` say what is meant."""

    id: UUID
    kind: Kind
    up_to: int | None = None
    wanted: Wanted = EVERYTHING
