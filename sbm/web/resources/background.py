"""What is asked for and not waited for: send estimates, and sound for the voice vendor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.estimate import Estimate
from sbm.model.task import Kind
from sbm.store import estimates, messagesets, tasks
from sbm.store.postgres.database import Transaction
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.schema import filters
from sbm.web.schema.fields import FieldError
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.pages import ShortPage

_RUN = OptionsInfo(
    name="Run Send Estimate",
    description="Estimates in the background how many are sent to on each of the next seven days.",
)
_ESTIMATES = OptionsInfo(
    name="Send Estimate List",
    description="How many subscriptions and identities are sent to, by day and message set.",
)
_SYNC = OptionsInfo(
    name="Sync Audio Files",
    description="Asks for new audio files to be copied to the voice vendor.",
)


def _day(given: str) -> date:
    """A date as it is written; raises FieldError."""
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise FieldError("Enter a valid date.") from None
    if day.isoformat() != given:  # newer Pythons read more than this
        raise FieldError("Enter a valid date.")
    return day


FILTERS = [
    Filter(name="send_date", parameter="send_date", read=_day),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
    ),
]


@frozen(eq=False, kw_only=True)
class SendEstimates:
    """The estimates as they were last made."""

    app = new_app()

    endpoint: Endpoint

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _ESTIMATES, {"GET": self._list})

    async def _list(self, request: ApiRequest) -> Reply:
        page = ShortPage.asked_for(request.query)
        count, found = await self.endpoint.database.transact(_list_page, page, request)
        return page.reply(request, count=count, results=[shown(one) for one in found])


@frozen(eq=False, kw_only=True)
class TaskRequest:
    """One path whose POST asks for a task; ``wake`` is called once that is committed.

    ``accepted`` is what the answer says besides the task's id. The body of the POST is not read.
    """

    app = new_app()

    endpoint: Endpoint
    wake: Callable[[], None]
    kind: Kind
    options: OptionsInfo
    accepted: str

    @app.route("/")
    async def path(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, self.options, {"POST": self._request})

    async def _request(self, request: ApiRequest) -> Reply:
        task_id = await self.endpoint.database.transact(
            tasks.request, kind=self.kind, requested_by=request.user.id
        )
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


async def _list_page(
    transaction: Transaction, page: ShortPage, request: ApiRequest
) -> tuple[int, list[Estimate]]:
    wanted = await read_filters(transaction, FILTERS, request.query)
    return await estimates.list_page(transaction, limit=page.limit, offset=page.offset, **wanted)
