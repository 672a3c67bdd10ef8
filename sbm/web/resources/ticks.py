"""``/api/v1/ticks``: who said "now" for a schedule, when, and how far it has come."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

from attrs import frozen
from twisted.web.server import Request

from sbm.model.send import Outcome
from sbm.model.tick import Source, State, Tick
from sbm.store import schedules, ticks
from sbm.web.http.endpoint import ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import NotFound
from sbm.web.http.wire import instant, row_id
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import Listing

PATH = "/api/v1/ticks/"

FILTERS = [
    Filter(
        name="schedule",
        parameter="schedule_id",
        read=filters.reference,
        exists=schedules.exists,
    ),
    Filter(name="source", parameter="source", read=filters.choice(get_args(Source))),
    Filter(name="state", parameter="state", read=filters.choice(get_args(State))),
    *(
        Filter(name=name, parameter=name, read=filters.moment)
        for name in ("created_after", "created_before")
    ),
]

_LIST = OptionsInfo(name="Tick List", description="The ticks of whole schedules.")
_INSTANCE = OptionsInfo(name="Tick Instance")


@frozen(eq=False)
class Ticks:
    """The ticks, which are only read here."""

    app = new_app()

    _front: Endpoint

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        return await self._front.answer(request, _LIST, {"GET": self._list})

    @app.route("/<number>")
    async def instance(self, request: Request, number: str) -> bytes:
        return await self._front.answer(request, _INSTANCE, {"GET": partial(self._read, number)})

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _read(self, number: str, exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(ticks.find, tick_id=row_id(number))
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))


def shown(exchange: ApiRequest, tick: Tick) -> dict[str, Any]:
    """A tick as clients see it."""
    outcomes = tick.outcomes
    if outcomes is not None:
        outcomes = {name: outcomes.get(name, 0) for name in get_args(Outcome)}
    return {
        "url": exchange.url(f"{PATH}{tick.id}/"),
        "id": tick.id,
        "source": tick.source,
        "schedule": tick.schedule_id,
        "state": tick.state,
        "due_at": instant(tick.due_at),
        "created_at": instant(tick.created_at),
        "expanded_at": None if tick.expanded_at is None else instant(tick.expanded_at),
        "opened_by": tick.opened_by,
        "follows": tick.follows,
        "triggers": tick.triggers,
        "progress": {
            "expanded_share": tick.expanded_share,
            "live": tick.live,
            "settled": tick.settled,
            "outcomes": outcomes,
            "counted_at": None if tick.counted_at is None else instant(tick.counted_at),
        },
    }


_LISTING = Listing(name="ticks", list_page=ticks.list_page, shown=shown, filters=FILTERS)
