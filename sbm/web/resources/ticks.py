"""``/api/v1/ticks``: who said "now" for a schedule, when, and how far it has come."""

from __future__ import annotations

from typing import Any, get_args

from attrs import frozen

from sbm.model.send import Outcome
from sbm.model.tick import Source, State, Tick
from sbm.store import schedules, ticks
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.endpoint import ApiRequest
from sbm.web.http.wire import instant
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter

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


def shown(request: ApiRequest, tick: Tick) -> dict[str, Any]:
    """A tick as clients see it."""
    outcomes = tick.outcomes
    if outcomes is not None:
        outcomes = {name: outcomes.get(name, 0) for name in get_args(Outcome)}
    return {
        "url": request.url(f"{PATH}{tick.id}/"),
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


RESOURCE = Resource[Tick](
    path=PATH,
    title="Tick",
    about="The ticks of whole schedules.",
    row_about="",
    methods=("GET",),
    shown=shown,
    filters=FILTERS,
    key="tick_id",
    list_page=ticks.list_page,
    find=ticks.find,
)


@frozen(eq=False, kw_only=True)
class Ticks(Rows):
    """The ticks, which are only read here."""

    app = collection()
    resource = RESOURCE
