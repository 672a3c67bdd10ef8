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
    """A date as it is written; raises Complaint."""
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


@frozen(eq=False)
class SendEstimates:
    """The estimates as they were last made."""

    app = new_app()

    _front: Endpoint

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        return await self._front.answer(request, _ESTIMATES, {"GET": self._list})

    async def _list(self, exchange: ApiRequest) -> Reply:
        page = ShortPage.asked_for(exchange.query)
        count, found = await self._front.database.transact(_list_page, page, exchange)
        return page.reply(exchange, count=count, results=[shown(one) for one in found])


@frozen(eq=False)
class TaskRequest:
    """One path whose POST asks for a task; ``wake`` is called once that is committed.

    ``accepted`` is what the answer says besides the task's id. The body of the POST is not read.
    """

    app = new_app()

    _front: Endpoint
    _wake: Callable[[], None]
    _kind: Kind
    _about: OptionsInfo
    _accepted: str

    @app.route("/")
    async def path(self, request: Request) -> bytes:
        return await self._front.answer(request, self._about, {"POST": self._request})

    async def _request(self, exchange: ApiRequest) -> Reply:
        task_id = await self._front.database.transact(
            tasks.request, kind=self._kind, requested_by=exchange.user.id
        )
        self._wake()
        return Reply(status=202, body={self._accepted: True, "task_id": str(task_id)})


def run_send_estimate(front: Endpoint, wake: Callable[[], None]) -> TaskRequest:
    """``POST /api/v1/runsendestimate``."""
    return TaskRequest(front, wake, "estimate-sends", _RUN, "accepted")


def sync_audio_files(front: Endpoint, wake: Callable[[], None]) -> TaskRequest:
    """``POST /api/v1/sync_audio_files/``."""
    return TaskRequest(front, wake, "sync-audio-files", _SYNC, "sync_audio_files_initiated")


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
    transaction: Transaction, page: ShortPage, exchange: ApiRequest
) -> tuple[int, list[Estimate]]:
    wanted = await read_filters(transaction, FILTERS, exchange.query)
    return await estimates.list_page(transaction, limit=page.limit, offset=page.offset, **wanted)
