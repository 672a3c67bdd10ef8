"""``/api/v1/tasks``: what was asked for in the background, how far it is, and what came of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, get_args
from uuid import UUID

from attrs import frozen

from sbm.model.task import Kind, State, TaskRecord
from sbm.store import tasks
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.endpoint import ApiRequest
from sbm.web.http.wire import instant, row_uuid
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import Order

PATH = "/api/v1/tasks/"

FILTERS = [
    Filter(name="kind", parameter="kind", read=filters.choice(get_args(Kind))),
    Filter(name="state", parameter="state", read=filters.choice(get_args(State))),
]


def shown(request: ApiRequest, task: TaskRecord) -> dict[str, Any]:
    """A task as clients see it."""
    return {
        "url": request.url(f"{PATH}{task.id}/"),
        "id": str(task.id),
        "kind": task.kind,
        "state": task.state,
        "requested_at": instant(task.requested_at),
        "requested_by": task.requested_by,
        "finished_at": instant(task.finished_at) if task.finished_at else None,
        "reason": task.reason,
        "progress": task.progress,
        "result": task.result,
    }


def _key(given: list[Any]) -> tuple[datetime, UUID]:
    moment, task_id = given
    requested_at = datetime.fromisoformat(moment)
    if requested_at.tzinfo is None:
        raise ValueError("a time without a zone")
    return requested_at.astimezone(timezone.utc), UUID(task_id)


RESOURCE = Resource[TaskRecord](
    path=PATH,
    title="Task",
    about="What was asked for in the background, newest first.",
    methods=("GET",),
    shown=shown,
    filters=FILTERS,
    order=Order(written=lambda task: [task.requested_at.isoformat(), task.id.hex], read=_key),
    key="task_id",
    read_key=row_uuid,
    list_page=tasks.list_page,
    find=tasks.find,
)


@frozen(eq=False, kw_only=True)
class Tasks(Rows):
    """The tasks of the last 90 days."""

    app = collection()
    resource = RESOURCE
