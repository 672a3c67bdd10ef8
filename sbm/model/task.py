"""Tasks: work that a client asks for and does not wait for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from attrs import frozen

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter

TaskKind = Literal[
    "requeue-failed-tasks",
    "estimate-sends",
    "find-behind-subscriptions",
    "find-silent-subscriptions",
    "sync-audio-files",
]
TaskState = Literal["waiting", "begun", "done", "failed"]


@frozen(kw_only=True)
class Task:
    """A task in progress; for a requeue, ``up_to`` and ``wanted`` select the failed tasks."""

    id: UUID
    kind: TaskKind
    up_to: int | None = None
    wanted: FailedTaskFilter = EVERYTHING


@frozen(kw_only=True)
class TaskRecord:
    """The state of a task; the content of ``progress`` and ``result`` depends on its kind."""

    id: UUID
    kind: TaskKind
    state: TaskState
    requested_at: datetime
    requested_by: str | None
    finished_at: datetime | None
    reason: str
    progress: Mapping[str, Any]
    result: Mapping[str, Any]
