"""Tasks, described: what was asked for in the background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from sbm.model.task import Kind, State
from sbm.web.openapi.parts import Operation, Path, answer_of
from sbm.web.openapi.resources import NOT_FOUND, filters, key, listing
from sbm.web.openapi.schemas import (
    MOMENT,
    TEXT,
    URL,
    UUID,
    JsonSchema,
    one_object,
    page_of,
    said,
    schema,
)

TAGS = (("Tasks", "What was asked for in the background, and what came of it."),)

_KIND = TEXT | {"enum": list(get_args(Kind))}
_STATE = TEXT | {"enum": list(get_args(State))}


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this."""
    task = one_object(
        {
            "url": said(URL, "Where it is read."),
            "id": said(UUID, "What was answered as `task_id`."),
            "kind": said(_KIND, "What was asked for."),
            "state": said(_STATE, "A task that was `begun` goes on in another daemon if need be."),
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
    return {"Task": task, "TaskPage": page_of("Task")}


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield Path(
        path="/api/v1/tasks/",
        tag="Tasks",
        operations={
            "GET": listing(
                "list_tasks",
                "List tasks",
                "Task",
                filters(
                    kind=(_KIND, "Those of this kind."), state=(_STATE, "Those in this state.")
                ),
                description="The newest come first. What finished 90 days ago is forgotten.",
            )
        },
    )
    yield Path(
        path="/api/v1/tasks/{id}/",
        tag="Tasks",
        parameters=key("id", UUID, "The task."),
        operations={
            "GET": Operation(
                name="read_task",
                summary="Read a task",
                answers={200: answer_of(schema("Task"), "The task."), **NOT_FOUND},
            )
        },
    )
