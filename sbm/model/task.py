"""Work that a client asks for and does not wait for."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from attrs import frozen

Kind = Literal[
    "requeue-failed-tasks", "estimate-sends", "find-behind-subscriptions", "sync-audio-files"
]


@frozen(kw_only=True)
class Task:
    """A task that was taken up; ``up_to`` bounds a requeue."""

    id: UUID
    kind: Kind
    up_to: int | None = None
