"""What went wrong, described: failures, and sending them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from sbm.model.failed_task import MAX_IDENTITY, MAX_REASON
from sbm.model.send import Kind, Stage
from sbm.web.openapi.parts import ACCEPTED, NOT_ACCEPTED, Operation, Path, answer_of
from sbm.web.openapi.resources import INVALID_FILTER, NOT_FOUND, filters, key, listing
from sbm.web.openapi.schemas import (
    FLAG,
    MOMENT,
    ROW_ID,
    TEXT,
    URL,
    UUID,
    JsonSchema,
    one_object,
    page_of,
    said,
    schema,
)

TAGS = (("Failed tasks", "Messages that were refused, or failed, and sending them again."),)

_FILTERS = filters(
    kind=(TEXT | {"enum": list(get_args(Kind))}, "Next messages, or resends."),
    stage=(TEXT | {"enum": list(get_args(Stage))}, "Those that came so far."),
    subscription_id=(UUID, "Those of this subscription."),
    identity=(TEXT | {"maxLength": MAX_IDENTITY}, "Those of this identity."),
    reason_contains=(
        TEXT | {"maxLength": MAX_REASON},
        "Those with this in their reasons, in any case.",
    ),
    initiated_after=(MOMENT, "Those first tried at this time or later."),
    initiated_before=(MOMENT, "Those first tried at this time or before."),
)


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this."""
    failed = one_object(
        {
            "url": said(URL, "Where it is read."),
            "id": said(ROW_ID, "Newer failures have higher numbers."),
            "subscription": said(URL, "Who did not get her message."),
            "subscription_id": UUID,
            "task_id": said(UUID, "The send that failed; it keeps its id when it is owed again."),
            "initiated_at": said(MOMENT, "When the failed try began."),
            "reason": said(TEXT, "Why."),
        }
    )
    return {"FailedTask": failed, "FailedTaskPage": page_of("FailedTask")}


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield Path(
        path="/api/v1/failed-tasks/",
        tag="Failed tasks",
        operations={
            "GET": listing(
                "list_failed_tasks",
                "List failures",
                "FailedTask",
                _FILTERS,
                description="The newest come first.",
            ),
            "POST": Operation(
                name="requeue_failed_tasks",
                summary="Send what failed again",
                description="All of it, or what matches the filters. Failures leave the list as"
                " they are owed again, or skipped; each is the same send. The body is not read."
                " Unlike elsewhere, a filter that is unknown or empty is refused.",
                parameters=_FILTERS,
                answers={
                    **INVALID_FILTER,
                    201: answer_of(
                        one_object({"requeued_failed_tasks": FLAG | {"const": True}}),
                        "They are owed again, or going to be.",
                    ),
                },
            ),
        },
    )
    yield Path(
        path="/api/v1/failed-tasks/{id}/",
        tag="Failed tasks",
        parameters=key("id", ROW_ID, "The failure."),
        operations={
            "GET": Operation(
                name="read_failed_task",
                summary="Read a failure",
                answers={200: answer_of(schema("FailedTask"), "The failure."), **NOT_FOUND},
            )
        },
    )
    yield Path(
        path="/api/v1/failed-tasks/{id}/requeue",
        tag="Failed tasks",
        parameters=key("id", ROW_ID, "The failure."),
        operations={
            "POST": Operation(
                name="requeue_failed_task",
                summary="Send one that failed again",
                description="Ahead of the members of a tick. Either way the failure has left the"
                " list. The body is not read.",
                answers={
                    200: answer_of(NOT_ACCEPTED, "It was skipped: there is nothing to send."),
                    201: answer_of(ACCEPTED, "It is owed again."),
                    **NOT_FOUND,
                },
            )
        },
    )
