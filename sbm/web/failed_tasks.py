"""``/api/v1/failed-tasks``: what was refused or failed, and owing it again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.web.server import Request

from sbm.model.failed_task import FailedTask
from sbm.store import failed_tasks, tasks
from sbm.store.database import Transaction
from sbm.web.errors import NotFound
from sbm.web.exchange import About, Exchange, Front, Reply, new_app
from sbm.web.fields import Field, ReadOnly, Text
from sbm.web.pages import Listing
from sbm.web.shapes import Shape
from sbm.web.wire import instant, row_id

PATH = "/api/v1/failed-tasks/"

# So many are owed again before the answer; a list that is longer is left to a task.
REQUEUE_BATCH = 200

# The wire describes these fields as if a POST took them. It reads nothing.
SHAPE = Shape(
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

_LIST = About(name="Failed Task List", actions={"POST": SHAPE.description()})
_INSTANCE = About(name="Failed Task Instance")


@frozen(eq=False)
class FailedTasks:
    """The failures; ``wake`` is called once some are owed again and committed."""

    app = new_app()

    _front: Front
    _wake: Callable[[], None]

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._requeue}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        return await self._front.answer(request, _INSTANCE, {"GET": partial(self._read, number)})

    async def _list(self, exchange: Exchange) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _read(self, number: str, exchange: Exchange) -> Reply:
        found = await self._front.database.transact(
            failed_tasks.find, failed_task_id=row_id(number)
        )
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))

    async def _requeue(self, exchange: Exchange) -> Reply:
        """The body is not read: all that there are now are meant."""
        await self._front.database.transact(_requeue, requested_by=exchange.user.id)
        self._wake()
        return Reply(status=201, body={"requeued_failed_tasks": True})


def shown(exchange: Exchange, failed_task: FailedTask) -> dict[str, Any]:
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


_LISTING = Listing(name="failed-tasks", list_page=failed_tasks.list_page, shown=shown)


async def _requeue(transaction: Transaction, *, requested_by: int | None) -> None:
    up_to = await failed_tasks.newest(transaction)
    if up_to is None:
        return
    taken = await failed_tasks.requeue(transaction, up_to=up_to, limit=REQUEUE_BATCH)
    if taken == REQUEUE_BATCH:
        await tasks.request(
            transaction, kind="requeue-failed-tasks", requested_by=requested_by, up_to=up_to
        )
