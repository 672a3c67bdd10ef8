"""``/api/v1/ticks``: the ticks of schedules, and how far their sends have come."""

from __future__ import annotations

from typing import Any, get_args

from attrs import frozen

from sbm.model.send import Outcome
from sbm.model.tick import Source, Tick, TickState
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
        note="Ticks of this schedule.",
    ),
    Filter(
        name="source",
        read=filters.choice(get_args(Source)),
        note="Ticks of the built-in clock, or of POST-backs.",
    ),
    Filter(name="state", read=filters.choice(get_args(TickState)), note="Ticks in this state."),
    Filter(name="created_after", read=filters.moment, note="Ticks opened at this time or later."),
    Filter(name="created_before", read=filters.moment, note="Ticks opened at this time or before."),
]

_STATE = TEXT | {"enum": list(get_args(TickState))}
_OUTCOMES = one_object(dict.fromkeys(get_args(Outcome), COUNT))
_PROGRESS = one_object(
    {
        "expanded_share": said(
            {"type": "number", "minimum": 0, "maximum": 1},
            "About which share of its members the expansion has done.",
        ),
        "live": said(COUNT, "Sends that are owed, in flight, or of unknown outcome."),
        "settled": said(COUNT, "Sends with an outcome: triggers minus live sends."),
        "outcomes": said(
            nullable(_OUTCOMES), "How many sends have each outcome; null: not counted yet."
        ),
        "counted_at": said(nullable(MOMENT), "When the outcomes were counted."),
    }
)
_ROW = one_object(
    {
        "url": said(URL, "The URL of the tick."),
        "id": said(ROW_ID, "Newer ticks have higher numbers."),
        "source": said(
            TEXT | {"enum": [*get_args(Source), "single"]},
            "The built-in clock, a POST-back, or triggers of single subscriptions. Such triggers"
            " share a few ticks in each minute.",
        ),
        "schedule": said(
            nullable(ROW_ID), "The schedule. Its active subscriptions get their next message."
        ),
        "state": said(_STATE, "A tick that the clock missed sends nothing, also not later."),
        "due_at": said(MOMENT, "The moment for which the schedule was due."),
        "created_at": said(
            MOMENT, "When it was opened. Subscriptions made after that are not members."
        ),
        "expanded_at": said(nullable(MOMENT), "When the expansion had done all members."),
        "opened_by": said(nullable(TEXT), "The user whose POST-back it was."),
        "follows": said(
            nullable(ROW_ID),
            "The tick before it, if that tick still had live sends. Its members are skipped here.",
        ),
        "triggers": said(COUNT, "How many sends it has asked for so far."),
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
        notes={"LIST": "The ticks of whole schedules; the newest come first."},
    ),
)


@frozen(eq=False, kw_only=True)
class Ticks(Collection):
    """The ticks; clients can only read them."""

    app = collection_app()
    resource = RESOURCE


SECTION = Section(
    tags=[("Ticks", 'A tick says "now" for a schedule. It shows how far the sends have come.')],
    paths=RESOURCE.paths(),
    schemas=RESOURCE.schemas(),
)
