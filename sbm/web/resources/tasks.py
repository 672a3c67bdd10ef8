"""``/api/v1/tasks``: what was asked for in the background, how far it is, and what came of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, get_args
from uuid import UUID

from attrs import frozen

from sbm.model.task import Kind, State, TaskRecord
from sbm.store import tasks
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.endpoint import ApiRequest
from sbm.web.http.wire import instant, row_uuid
from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import one_object, said
from sbm.web.schema import filters, json_schema
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import MOMENT, TEXT, URL
from sbm.web.schema.pages import Order

PATH = "/api/v1/tasks/"

FILTERS = [
    Filter(name="kind", read=filters.choice(get_args(Kind)), note="Those of this kind."),
    Filter(name="state", read=filters.choice(get_args(State)), note="Those in this state."),
]

_ROW = one_object(
    {
        "url": said(URL, "Where it is read."),
        "id": said(json_schema.UUID, "What was answered as `task_id`."),
        "kind": said(TEXT | {"enum": list(get_args(Kind))}, "What was asked for."),
        "state": said(
            TEXT | {"enum": list(get_args(State))},
            "A task that was `begun` goes on in another daemon if need be.",
        ),
        "requested_at": MOMENT,
        "requested_by": {"description": "The name of a user.", "type": ["string", "null"]},
        "finished_at": {"type": ["string", "null"], "format": "date-time"},
        "reason": said(TEXT, "Why it failed."),
        "progress": {
            "description": "How far it is, as it said last. Empty: its kind does not say.",
            "type": "object",
        },
        "result": {
            "description": "What came of it. Empty: its kind has nothing to say.",
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
    description="What was asked for in the background, newest first.",
    methods=("GET",),
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
        notes={"LIST": "The newest come first. What finished 90 days ago is forgotten."},
    ),
)


@frozen(eq=False, kw_only=True)
class Tasks(Collection):
    """The tasks of the last 90 days."""

    app = collection_app()
    resource = RESOURCE


SECTION = Section(
    tags=[("Tasks", "What was asked for in the background, and what came of it.")],
    paths=RESOURCE.paths(),
    schemas=RESOURCE.schemas(),
)
