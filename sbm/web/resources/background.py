"""Work in the background: send estimates, and the copies of sound for the voice vendor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.estimate import Estimate
from sbm.model.task import TaskKind
from sbm.store import estimates, messagesets, tasks
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, InTransaction, new_app, reading
from sbm.web.http.needs import OPERATING
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.openapi.lists import BY_OFFSET, listing
from sbm.web.openapi.parts import TASK, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import one_object, page_of, said
from sbm.web.schema import filters, json_schema
from sbm.web.schema.fields import FieldError
from sbm.web.schema.filters import Filter, read_filters, taking
from sbm.web.schema.json_schema import COUNT, DAY, FLAG, ROW_ID
from sbm.web.schema.pages import ShortPage

_RUN = OptionsInfo(
    name="Run Send Estimate",
    description="Estimates in the background how many messages go out on each of the next seven"
    " days.",
)
_ESTIMATES = OptionsInfo(
    name="Send Estimate List",
    description="How many subscriptions and identities get a message, by day and message set.",
)
_SYNC = OptionsInfo(
    name="Sync Audio Files",
    description="Requests a copy of new audio files for the voice vendor.",
)


@taking(DAY)
def _day(given: str) -> date:
    """A date as it is written; raises FieldError."""
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise FieldError("Enter a valid date.") from None
    if day.isoformat() != given:  # newer releases of Python accept more formats
        raise FieldError("Enter a valid date.")
    return day


FILTERS = [
    Filter(name="send_date", read=_day, note="Estimates of this day."),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
        note="Estimates of this message set.",
    ),
]


@frozen(eq=False, kw_only=True)
class SendEstimates:
    """The latest estimates."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _ESTIMATES, {"GET": reading(_list)})


@frozen(eq=False, kw_only=True)
class TaskRequest:
    """One path whose POST requests a task; ``wake`` is called after the commit.

    ``accepted`` is a key of the answer, besides the task's id. The body of the POST is not read.
    """

    app = new_app()

    endpoint: Endpoint
    wake: Callable[[], None]
    kind: TaskKind
    options: OptionsInfo
    accepted: str

    @app.route("/")
    async def path(self, request: Request) -> bytes:
        methods = {"POST": InTransaction(work=self._request, reply=self._requested)}
        return await self.endpoint.answer(request, self.options, methods, needs=OPERATING)

    async def _request(self, transaction: Transaction, request: ApiRequest) -> UUID:
        return await tasks.request(transaction, kind=self.kind, requested_by=request.user.id)

    async def _requested(self, _request: ApiRequest, task_id: UUID) -> Reply:
        self.wake()
        return Reply(status=202, body={self.accepted: True, "task_id": str(task_id)})


def run_send_estimate(endpoint: Endpoint, wake: Callable[[], None]) -> TaskRequest:
    """``POST /api/v1/runsendestimate``."""
    return TaskRequest(
        endpoint=endpoint, wake=wake, kind="estimate-sends", options=_RUN, accepted="accepted"
    )


def sync_audio_files(endpoint: Endpoint, wake: Callable[[], None]) -> TaskRequest:
    """``POST /api/v1/sync_audio_files/``."""
    return TaskRequest(
        endpoint=endpoint,
        wake=wake,
        kind="sync-audio-files",
        options=_SYNC,
        accepted="sync_audio_files_initiated",
    )


def shown(estimate: Estimate) -> dict[str, Any]:
    """An estimate as clients see it."""
    return {
        "id": estimate.id,
        "send_date": estimate.send_date.isoformat(),
        "messageset": estimate.messageset_id,
        "estimate_subscriptions": estimate.estimate_subscriptions,
        "estimate_identities": estimate.estimate_identities,
    }


async def _list(transaction: Transaction, request: ApiRequest) -> Reply:
    page = ShortPage.asked_for(request.query)
    wanted = await read_filters(transaction, FILTERS, request.query)
    count, found = await estimates.list_page(
        transaction, limit=page.limit, offset=page.offset, **wanted
    )
    return page.reply(request, count=count, results=[shown(one) for one in found])


ESTIMATES = Section(
    tags=[("Send estimates", "How many messages go out on each of the next seven days.")],
    paths=[
        PathItem(
            path="/api/v1/runsendestimate",
            tag="Send estimates",
            needs=OPERATING,
            operations={
                "POST": Operation(
                    name="run_send_estimate",
                    summary="Estimate the sends of the next seven days",
                    description="A task does this in the background. The body is not read.",
                    answers={202: answer_of(TASK, "The task was accepted.")},
                )
            },
        ),
        PathItem(
            path="/api/v1/send-estimates/",
            tag="Send estimates",
            operations={
                "GET": listing(
                    "list_send_estimates",
                    "List the estimates",
                    "SendEstimate",
                    FILTERS,
                    pages=BY_OFFSET,
                    description="The latest estimates.",
                )
            },
        ),
    ],
    schemas={
        "SendEstimate": one_object(
            {
                "id": ROW_ID,
                "send_date": said(DAY, "The day."),
                "messageset": said(ROW_ID, "The message set."),
                "estimate_subscriptions": said(COUNT, "How many subscriptions get a message."),
                "estimate_identities": said(COUNT, "How many people get a message."),
            }
        ),
        "SendEstimatePage": page_of("SendEstimate"),
    },
)

AUDIO = Section(
    paths=[
        PathItem(
            path="/api/v1/sync_audio_files/",
            tag="Service",
            needs=OPERATING,
            operations={
                "POST": Operation(
                    name="sync_audio_files",
                    summary="Copy new sound to the voice vendor",
                    description="A task does this in the background. The body is not read.",
                    answers={
                        202: answer_of(
                            one_object(
                                {
                                    "sync_audio_files_initiated": FLAG | {"const": True},
                                    "task_id": said(json_schema.UUID, "The id of the task."),
                                }
                            ),
                            "The task was accepted.",
                        )
                    },
                )
            },
        )
    ]
)
