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
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import NotFound, Reason
from sbm.web.http.wire import instant, row_id
from sbm.web.schema import filters
from sbm.web.schema.fields import Field, ReadOnly, Text
from sbm.web.schema.filters import Filter, read_filters
from sbm.web.schema.pages import Listing
from sbm.web.schema.schema import Schema

PATH = "/api/v1/failed-tasks/"

# The wire describes these fields as if a POST took them. It reads nothing.
SHAPE = Schema(
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
    Filter(name="kind", parameter="kind", read=filters.choice(get_args(Kind))),
    Filter(name="stage", parameter="stage", read=filters.choice(get_args(Stage))),
    Filter(name="subscription_id", parameter="subscription_id", read=filters.row_uuid),
    Filter(
        name="identity",
        parameter="identity",
        read=filters.at_most(MAX_IDENTITY, filters.identity),
    ),
    Filter(
        name="reason_contains",
        parameter="reason_contains",
        read=filters.at_most(MAX_REASON, filters.text),
    ),
    *(
        Filter(name=name, parameter=name, read=filters.moment)
        for name in ("initiated_after", "initiated_before")
    ),
]

_LIST = OptionsInfo(name="Failed Task List", actions={"POST": SHAPE.description()})
_INSTANCE = OptionsInfo(name="Failed Task Instance")
_REQUEUE = OptionsInfo(name="Failed Task Requeue", description="Owes what failed again")


@frozen(eq=False)
class FailedTasks:
    """The failures; ``wake`` is called once one is owed again and committed.

    ``wake_tasks`` is called where a task goes on with them.
    """

    app = new_app()

    _front: Endpoint
    _wake: Callable[[], None]
    _wake_tasks: Callable[[], None]

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._requeue}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        return await self._front.answer(request, _INSTANCE, {"GET": partial(self._read, number)})

    @app.route("/<number>/requeue")
    async def again(self, request: Request, number: str) -> bytes:
        methods = {"POST": partial(self._requeue_one, number)}
        return await self._front.answer(request, _REQUEUE, methods)

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _read(self, number: str, exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(
            failed_tasks.find, failed_task_id=row_id(number)
        )
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))

    async def _requeue(self, exchange: ApiRequest) -> Reply:
        """The body is not read: all that there are now and match the filters are meant."""
        done = await self._front.database.transact(_requeue, exchange)
        self._wake()
        if done.goes_on:
            self._wake_tasks()
        return Reply(status=201, body={"requeued_failed_tasks": True})

    async def _requeue_one(self, number: str, _exchange: ApiRequest) -> Reply:
        """The body is not read."""
        trigger = await self._front.database.transact(
            requeue.requeue_one, failed_task_id=row_id(number)
        )
        if not trigger.found:
            raise NotFound
        if not trigger.accepted:
            body = {"accepted": False, "reason": trigger.reason}
            return Reply(body=body, reason=Reason(kind="nothing-to-do"))
        self._wake()
        return Reply(status=201, body={"accepted": True})


def shown(exchange: ApiRequest, failed_task: FailedTask) -> dict[str, Any]:
    """A failure as clients see it."""
    subscription_id = failed_task.subscription_id
    return {
        "url": exchange.url(f"{PATH}{failed_task.id}/"),
        "id": failed_task.id,
        "subscription": exchange.url(f"/api/v1/subscriptions/{subscription_id}/"),
        "subscription_id": str(subscription_id),
        "task_id": str(failed_task.send_id),
        "initiated_at": instant(failed_task.initiated_at),
        "reason": failed_task.reason,
    }


async def _list_page(
    transaction: Transaction, *, window: PageRequest, **wanted: Any
) -> Page[FailedTask]:
    return await failed_tasks.list_page(transaction, window=window, wanted=Wanted(**wanted))


_LISTING = Listing(name="failed-tasks", list_page=_list_page, shown=shown, filters=FILTERS)


async def _requeue(transaction: Transaction, exchange: ApiRequest) -> Requeued:
    wanted = await read_filters(transaction, FILTERS, exchange.query, strictly=True)
    return await requeue.requeue_all(transaction, wanted=Wanted(**wanted), requested_by=exchange.user.id)
