"""``/api/v1/ticks``: who said "now" for a schedule, when, and how far it has come."""

from __future__ import annotations

from typing import Any, get_args

from attrs import frozen

from sbm.model.send import Outcome
from sbm.model.tick import Source, State, Tick
from sbm.store import schedules, ticks
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.endpoint import ApiRequest
from sbm.web.http.wire import instant
from sbm.web.openapi.parts import Section
from sbm.web.openapi.schemas import nullable, one_object, said
from sbm.web.schema import filters
from sbm.web.schema.filters import Filter
from sbm.web.schema.json_schema import COUNT, MOMENT, ROW_ID, TEXT, URL

PATH = "/api/v1/ticks/"

FILTERS = [
    Filter(
        name="schedule",
        parameter="schedule_id",
        read=filters.reference,
        exists=schedules.exists,
        note="Those of this schedule.",
    ),
    Filter(
        name="source",
        read=filters.choice(get_args(Source)),
        note="The clock's, or those of POST-backs.",
    ),
    Filter(name="state", read=filters.choice(get_args(State)), note="Those in this state."),
    Filter(name="created_after", read=filters.moment, note="Those opened at this time or later."),
    Filter(name="created_before", read=filters.moment, note="Those opened at this time or before."),
]

_STATE = TEXT | {"enum": list(get_args(State))}
_OUTCOMES = one_object(dict.fromkeys(get_args(Outcome), COUNT))
_PROGRESS = one_object(
    {
        "expanded_share": said(
            {"type": "number", "minimum": 0, "maximum": 1},
            "About how much of the schedule it has gone through.",
        ),
        "live": said(COUNT, "Sends that are owed, under way, or of unknown outcome."),
        "settled": said(COUNT, "Sends that came to an end: triggers less those live."),
        "outcomes": said(nullable(_OUTCOMES), "What they came to, as last counted; null: not yet."),
        "counted_at": said(nullable(MOMENT), "When the outcomes were counted."),
    }
)
_ROW = one_object(
    {
        "url": said(URL, "Where it is read."),
        "id": said(ROW_ID, "Newer ticks have higher numbers."),
        "source": said(
            TEXT | {"enum": [*get_args(Source), "single"]},
            "The built-in clock, a POST-back, or the triggers for single subscriptions, which"
            " share some ticks a minute.",
        ),
        "schedule": said(nullable(ROW_ID), "Whose members get their next message."),
        "state": said(
            _STATE, "Missed ticks of the clock are not made up for: nobody is sent anything."
        ),
        "due_at": said(MOMENT, "The moment that the clock ticked for, or missed."),
        "created_at": said(MOMENT, "When it was opened: later members are not covered."),
        "expanded_at": said(nullable(MOMENT), "When all its members had been gone through."),
        "opened_by": said(nullable(TEXT), "Whose POST-back it was."),
        "follows": said(
            nullable(ROW_ID),
            "The tick before it, if that was still being sent: whom that one covers is skipped.",
        ),
        "triggers": said(COUNT, "How many sends it asked for so far."),
        "progress": _PROGRESS,
    }
)


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
    description="The ticks of whole schedules.",
    row_description="",
    methods=("GET",),
    shown=shown,
    filters=FILTERS,
    key="tick_id",
    list_page=ticks.list_page,
    find=ticks.find,
    sentences=Sentences(
        tag="Ticks",
        name="tick",
        one="a tick",
        many="ticks",
        schema_name="Tick",
        row_schema=_ROW,
        key="The tick.",
        answer="The tick.",
        notes={"LIST": "Those of whole schedules; the newest come first."},
    ),
)


@frozen(eq=False, kw_only=True)
class Ticks(Collection):
    """The ticks, which are only read here."""

    app = collection_app()
    resource = RESOURCE


SECTION = Section(
    tags=[("Ticks", 'When somebody said "now" for a schedule, and how far its sends have come.')],
    paths=RESOURCE.paths(),
    schemas=RESOURCE.schemas(),
)
