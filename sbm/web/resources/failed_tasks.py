"""``/api/v1/failed-tasks``: what was refused or failed, and owing it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from attrs import frozen
from twisted.web.server import Request

from sbm.model.failed_task import MAX_IDENTITY, MAX_REASON, FailedTask, Requeued, Wanted
from sbm.model.paging import Page, PageRequest
from sbm.model.send import Kind, Stage
from sbm.operations import requeue
from sbm.store import failed_tasks
from sbm.store.postgres.database import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.endpoint import ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import NotFound, Reason
from sbm.web.http.wire import instant, row_id
from sbm.web.openapi.lists import INVALID_FILTER, NOT_FOUND, parameters
from sbm.web.openapi.parts import (
    ACCEPTED,
    NOT_ACCEPTED,
    Operation,
    PathItem,
    Section,
    answer_of,
)
from sbm.web.openapi.schemas import one_object, said
from sbm.web.schema import filters
from sbm.web.schema.fields import Field, ReadOnly, Text
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.json_schema import FLAG, MOMENT, ROW_ID, TEXT, URL, UUID
from sbm.web.schema.schema import Schema

PATH = "/api/v1/failed-tasks/"

# The wire describes these fields as if a POST took them. It reads nothing.
SCHEMA = Schema(
    [
        ReadOnly(name="url"),
        ReadOnly(name="id", shown_as="integer"),
        Field(name="subscription"),
        ReadOnly(name="subscription_id"),
        Text(name="task_id"),
        ReadOnly(name="initiated_at", shown_as="datetime", read_only=False),
        Text(name="reason"),
    ]
)

# Not ``subscription``: clients that send this to the old service find that it is ignored.
FILTERS = [
    Filter(name="kind", read=filters.choice(get_args(Kind)), note="Next messages, or resends."),
    Filter(name="stage", read=filters.choice(get_args(Stage)), note="Those that came so far."),
    Filter(name="subscription_id", read=filters.row_uuid, note="Those of this subscription."),
    Filter(
        name="identity",
        read=filters.at_most(MAX_IDENTITY, filters.identity),
        note="Those of this identity.",
    ),
    Filter(
        name="reason_contains",
        read=filters.at_most(MAX_REASON, filters.text),
        note="Those with this in their reasons, in any case.",
    ),
    Filter(
        name="initiated_after", read=filters.moment, note="Those first tried at this time or later."
    ),
    Filter(
        name="initiated_before",
        read=filters.moment,
        note="Those first tried at this time or before.",
    ),
]

_ROW = one_object(
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
_REQUEUE_ALL = Operation(
    name="requeue_failed_tasks",
    summary="Send what failed again",
    description="All of it, or what matches the filters. Failures leave the list as they are owed"
    " again, or skipped; each is the same send. The body is not read. Unlike elsewhere, a filter"
    " that is unknown or empty is refused.",
    parameters=parameters(FILTERS),
    answers={
        **INVALID_FILTER,
        201: answer_of(
            one_object({"requeued_failed_tasks": FLAG | {"const": True}}),
            "They are owed again, or going to be.",
        ),
    },
)

_REQUEUE = OptionsInfo(name="Failed Task Requeue", description="Owes what failed again")


def shown(request: ApiRequest, failed_task: FailedTask) -> dict[str, Any]:
    """A failure as clients see it."""
    subscription_id = failed_task.subscription_id
    return {
        "url": request.url(f"{PATH}{failed_task.id}/"),
        "id": failed_task.id,
        "subscription": request.url(f"/api/v1/subscriptions/{subscription_id}/"),
        "subscription_id": str(subscription_id),
        "task_id": str(failed_task.send_id),
        "initiated_at": instant(failed_task.initiated_at),
        "reason": failed_task.reason,
    }


async def _list_page(
    transaction: Transaction, *, window: PageRequest, **wanted: Any
) -> Page[FailedTask]:
    return await failed_tasks.list_page(transaction, window=window, wanted=Wanted(**wanted))


RESOURCE = Resource[FailedTask](
    path=PATH,
    title="Failed Task",
    methods=("GET", "POST"),
    schema=SCHEMA,
    shown=shown,
    filters=FILTERS,
    key="failed_task_id",
    list_page=_list_page,
    find=failed_tasks.find,
    sentences=Sentences(
        tag="Failed tasks",
        name="failed_task",
        one="a failure",
        many="failures",
        schema_name="FailedTask",
        row_schema=_ROW,
        key="The failure.",
        answer="The failure.",
        notes={"LIST": "The newest come first."},
        post=_REQUEUE_ALL,
    ),
)


@frozen(eq=False, kw_only=True)
class FailedTasks(Collection):
    """The failures; ``wake`` is called once some are owed again and committed.

    ``wake_tasks`` is called where a task goes on with them.
    """

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]
    wake_tasks: Callable[[], None]

    @app.route("/<key>/requeue")
    async def again(self, request: Request, key: str) -> bytes:
        methods = {"POST": partial(self._requeue_one, key)}
        return await self.endpoint.answer(request, _REQUEUE, methods)

    async def create(self, request: ApiRequest) -> Reply:
        """Requeue all that there are now and match the filters. The body is not read."""
        done = await self.endpoint.database.transact(_requeue, request)
        self.wake()
        if done.goes_on:
            self.wake_tasks()
        return Reply(status=201, body={"requeued_failed_tasks": True})

    async def _requeue_one(self, key: str, _request: ApiRequest) -> Reply:
        """The body is not read."""
        trigger = await self.endpoint.database.transact(
            requeue.requeue_one, failed_task_id=row_id(key)
        )
        if not trigger.found:
            raise NotFound
        if not trigger.accepted:
            body = {"accepted": False, "reason": trigger.reason}
            return Reply(body=body, reason=Reason(kind="nothing-to-do"))
        self.wake()
        return Reply(status=201, body={"accepted": True})


async def _requeue(transaction: Transaction, request: ApiRequest) -> Requeued:
    wanted = await read_filters(transaction, FILTERS, request.query, strictly=True)
    return await requeue.requeue_all(
        transaction, wanted=Wanted(**wanted), requested_by=request.user.id
    )


SECTION = Section(
    tags=[("Failed tasks", "Messages that were refused, or failed, and sending them again.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/failed-tasks/{id}/requeue",
            tag="Failed tasks",
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="requeue_failed_task",
                    summary="Send one that failed again",
                    description="Ahead of the members of a tick. Either way the failure has left"
                    " the list. The body is not read.",
                    answers={
                        200: answer_of(NOT_ACCEPTED, "It was skipped: there is nothing to send."),
                        201: answer_of(ACCEPTED, "It is owed again."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas=RESOURCE.schemas(),
)
