"""``/api/v1/tasks``: the tasks in the background, their progress, and their results."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, get_args
from uuid import UUID

from attrs import frozen

from sbm.model.instants import instant
from sbm.model.task import TaskKind, TaskRecord, TaskState
from sbm.model.user import OPERATE
from sbm.store import tasks
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.needs import reading
from sbm.web.http.wire import row_uuid
from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import one_object, said
from sbm.web.schema import filters, json_schema
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import MOMENT, TEXT, URL
from sbm.web.schema.pages import Order

PATH = "/api/v1/tasks/"

FILTERS = [
    Filter(name="kind", read=filters.choice(get_args(TaskKind)), note="Tasks of this kind."),
    Filter(name="state", read=filters.choice(get_args(TaskState)), note="Tasks in this state."),
]

_ROW = one_object(
    {
        "url": said(URL, "The URL of the task."),
        "id": said(json_schema.UUID, "The `task_id` of the answer to the request."),
        "kind": said(TEXT | {"enum": list(get_args(TaskKind))}, "What the task does."),
        "state": said(
            TEXT | {"enum": list(get_args(TaskState))},
            "If the daemon of a `begun` task ends, another daemon goes on with the task.",
        ),
        "requested_at": MOMENT,
        "requested_by": {"description": "The name of a user.", "type": ["string", "null"]},
        "finished_at": {"type": ["string", "null"], "format": "date-time"},
        "reason": said(TEXT, "Why it failed."),
        "progress": {
            "description": "The latest progress. Empty: tasks of this kind report none.",
            "type": "object",
        },
        "result": {
            "description": "The result. Empty: tasks of this kind have none.",
            "type": "object",
        },
    }
)


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
    description="The tasks in the background, newest first.",
    methods=("GET",),
    needs=reading(OPERATE),
    shown=shown,
    filters=FILTERS,
    order=Order(written=lambda task: [task.requested_at.isoformat(), task.id.hex], read=_key),
    key="task_id",
    read_key=row_uuid,
    list_page=tasks.list_page,
    find=tasks.find,
    sentences=Sentences(
        tag="Tasks",
        name="task",
        one="a task",
        many="tasks",
        schema_name="Task",
        row_schema=_ROW,
        key="The task.",
        answer="The task.",
        notes={"LIST": "The newest come first. A task is deleted 90 days after its end."},
    ),
)


@frozen(eq=False, kw_only=True)
class Tasks(Collection):
    """The tasks of the last 90 days."""

    app = collection_app()
    resource = RESOURCE


SECTION = Section(
    tags=[("Tasks", "Work in the background, its progress, and its result.")],
    paths=RESOURCE.paths(),
    schemas=RESOURCE.schemas(),
)
