"""``/api/v1/failed-tasks``: sends that were refused or failed, and their requeue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from attrs import frozen
from twisted.web.server import Request

from sbm.model.failed_task import MAX_IDENTITY, MAX_REASON, FailedTask, FailedTaskFilter, Requeued
from sbm.model.instants import instant
from sbm.model.paging import Page, PageRequest
from sbm.model.send import SendKind, Stage, Trigger
from sbm.model.signature import Signature
from sbm.model.user import OPERATE, PEOPLE_READ
from sbm.operations import requeue
from sbm.store import failed_tasks
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction, Method
from sbm.web.http.http_errors import NotFound, Reason
from sbm.web.http.needs import OPERATING, reading
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
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

# OPTIONS describes these fields as if a POST took them. A POST reads none of them.
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

# Not ``subscription``: the old service ignores this filter, and clients send it.
FILTERS = [
    Filter(name="kind", read=filters.choice(get_args(SendKind)), note="Next messages, or resends."),
    Filter(
        name="stage",
        read=filters.choice(get_args(Stage)),
        note="Failed tasks that came to this stage.",
    ),
    Filter(
        name="subscription_id", read=filters.row_uuid, note="Failed tasks of this subscription."
    ),
    Filter(
        name="identity",
        read=filters.at_most(MAX_IDENTITY, filters.identity),
        note="Failed tasks of this identity.",
    ),
    Filter(
        name="reason_contains",
        read=filters.at_most(MAX_REASON, filters.text),
        note="Failed tasks with this text in their reasons, in upper or lower case.",
    ),
    Filter(
        name="initiated_after",
        read=filters.moment,
        note="Failed tasks first tried at this time or later.",
    ),
    Filter(
        name="initiated_before",
        read=filters.moment,
        note="Failed tasks first tried at this time or before.",
    ),
]

_ROW = one_object(
    {
        "url": said(URL, "The URL of this failed task."),
        "id": said(ROW_ID, "Newer failed tasks have higher numbers."),
        "subscription": said(URL, "The subscription that did not get its message."),
        "subscription_id": UUID,
        "task_id": said(UUID, "The send that failed; it keeps its id when it is owed again."),
        "initiated_at": said(MOMENT, "When the failed attempt began."),
        "reason": said(TEXT, "Why it failed."),
    }
)
_REQUEUE_ALL = Operation(
    name="requeue_failed_tasks",
    summary="Send failed messages again",
    description="Requeues all failed tasks, or those that match the filters. They leave the list"
    " when they are owed again or skipped; each is the same send as before. The body is not read."
    " Unlike in other lists, a filter that is unknown or empty is refused.",
    parameters=parameters(FILTERS),
    answers={
        **INVALID_FILTER,
        201: answer_of(
            one_object({"requeued_failed_tasks": FLAG | {"const": True}}),
            "They are owed again, or a task will do that.",
        ),
    },
)

_REQUEUE = OptionsInfo(name="Failed Task Requeue", description="Owes a failed send again")


def shown(request: ApiRequest, failed_task: FailedTask) -> dict[str, Any]:
    """A failed task as clients see it."""
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
    transaction: Transaction, *, page: PageRequest, **wanted: Any
) -> Page[FailedTask]:
    return await failed_tasks.list_page(transaction, page=page, wanted=FailedTaskFilter(**wanted))


RESOURCE = Resource[FailedTask](
    path=PATH,
    title="Failed Task",
    methods=("GET", "POST"),
    needs=reading(PEOPLE_READ, POST=OPERATE),
    schema=SCHEMA,
    shown=shown,
    filters=FILTERS,
    key="failed_task_id",
    list_page=_list_page,
    find=failed_tasks.find,
    sentences=Sentences(
        tag="Failed tasks",
        name="failed_task",
        one="a failed task",
        many="failed tasks",
        schema_name="FailedTask",
        row_schema=_ROW,
        key="The failed task.",
        answer="The failed task.",
        notes={"LIST": "The newest come first."},
        post=_REQUEUE_ALL,
    ),
)


@frozen(eq=False, kw_only=True)
class FailedTasks(Collection):
    """The failed tasks; ``wake`` is called after the commit of a requeue.

    ``wake_tasks`` is called if a task does the rest of it.
    """

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]
    wake_tasks: Callable[[], None]

    @app.route("/<key>/requeue")
    async def again(self, request: Request, key: str) -> bytes:
        requeue_one = InTransaction(work=partial(_requeue_one, key), reply=self._requeued_one)
        return await self.endpoint.answer(request, _REQUEUE, {"POST": requeue_one}, needs=OPERATING)

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list. A POST requeues all that match the filters now."""
        requeue_all = InTransaction(work=_requeue, reply=self._requeued)
        return super().list_methods() | {"POST": requeue_all}

    async def _requeued(self, _request: ApiRequest, done: Requeued) -> Reply:
        self.wake()
        if done.goes_on:
            self.wake_tasks()
        return Reply(status=201, body={"requeued_failed_tasks": True})

    async def _requeued_one(self, _request: ApiRequest, trigger: Trigger) -> Reply:
        if not trigger.accepted:
            body = {"accepted": False, "reason": trigger.reason}
            return Reply(body=body, reason=Reason(kind="nothing-to-do"))
        self.wake()
        return Reply(status=201, body={"accepted": True})


async def _requeue_one(key: str, transaction: Transaction, request: ApiRequest) -> Trigger:
    """The body is not read."""
    trigger = await requeue.requeue_one(
        transaction, failed_task_id=row_id(key), signature=_signature(request)
    )
    if not trigger.found:
        raise NotFound
    return trigger


async def _requeue(transaction: Transaction, request: ApiRequest) -> Requeued:
    """The body is not read."""
    wanted = await read_filters(transaction, FILTERS, request.query, strictly=True)
    return await requeue.requeue_all(
        transaction,
        wanted=FailedTaskFilter(**wanted),
        signature=_signature(request),
        requested_by=request.user.id,
    )


def _signature(request: ApiRequest) -> Signature:
    author = request.author()
    return Signature(actor=author.actor, reason=author.reason)


SECTION = Section(
    tags=[("Failed tasks", "Messages that were refused or failed. They can be sent again.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/failed-tasks/{id}/requeue",
            tag="Failed tasks",
            needs=OPERATING,
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="requeue_failed_task",
                    summary="Send a failed message again",
                    description="The send comes before the members of a tick. In both cases, the"
                    " failed task leaves the list. The body is not read.",
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
