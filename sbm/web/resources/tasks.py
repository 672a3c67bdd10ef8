"""``/api/v1/tasks``: what was asked for in the background, how far it is, and what came of it."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any, get_args
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.task import Kind, State, TaskRecord
from sbm.store import tasks
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import NotFound
from sbm.web.http.wire import instant, uuid_of
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import Listing, Order

_LIST = OptionsInfo(
    name="Task List", description="What was asked for in the background, newest first."
)
_INSTANCE = OptionsInfo(name="Task Instance", description=_LIST.description)

FILTERS = [
    Filter(name="kind", parameter="kind", read=filters.choice(get_args(Kind))),
    Filter(name="state", parameter="state", read=filters.choice(get_args(State))),
]


@frozen(eq=False)
class Tasks:
    """The tasks of the last 90 days."""

    app = new_app()

    _front: Endpoint

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        return await self._front.answer(request, _LIST, {"GET": self._list})

    @app.route("/<task_id>")
    async def instance(self, request: Request, task_id: str) -> bytes:
        return await self._front.answer(request, _INSTANCE, {"GET": partial(self._read, task_id)})

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _read(self, written: str, exchange: ApiRequest) -> Reply:
        task_id = uuid_of(written)
        if task_id is None:
            raise NotFound
        found = await self._front.database.transact(tasks.find, task_id=task_id)
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))


def shown(exchange: ApiRequest, task: TaskRecord) -> dict[str, Any]:
    """A task as clients see it."""
    return {
        "url": exchange.url(f"/api/v1/tasks/{task.id}/"),
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


_NEWEST_FIRST: Order[TaskRecord] = Order(
    written=lambda task: [task.requested_at.isoformat(), task.id.hex], read=_key
)
_LISTING = Listing(
    name="tasks", list_page=tasks.list_page, shown=shown, order=_NEWEST_FIRST, filters=FILTERS
)
