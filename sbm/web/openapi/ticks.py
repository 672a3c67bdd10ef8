"""Ticks, described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from sbm.model.send import Outcome
from sbm.model.tick import Source, State
from sbm.web.openapi.parts import Operation, Path, answer_of
from sbm.web.openapi.resources import NOT_FOUND, filters, key, listing
from sbm.web.openapi.schemas import (
    COUNT,
    MOMENT,
    ROW_ID,
    TEXT,
    URL,
    JsonSchema,
    nullable,
    one_object,
    page_of,
    said,
    schema,
)

TAGS = (("Ticks", 'When somebody said "now" for a schedule, and how far its sends have come.'),)

_STATE = TEXT | {"enum": list(get_args(State))}

_FILTERS = filters(
    schedule=(ROW_ID, "Those of this schedule."),
    source=(TEXT | {"enum": list(get_args(Source))}, "The clock's, or those of POST-backs."),
    state=(_STATE, "Those in this state."),
    created_after=(MOMENT, "Those opened at this time or later."),
    created_before=(MOMENT, "Those opened at this time or before."),
)


def schemas() -> dict[str, JsonSchema]:
    """The schemas of all this."""
    outcomes = one_object(dict.fromkeys(get_args(Outcome), COUNT))
    progress = one_object(
        {
            "expanded_share": said(
                {"type": "number", "minimum": 0, "maximum": 1},
                "About how much of the schedule it has gone through.",
            ),
            "live": said(COUNT, "Sends that are owed, under way, or of unknown outcome."),
            "settled": said(COUNT, "Sends that came to an end: triggers less those live."),
            "outcomes": said(
                nullable(outcomes), "What they came to, as last counted; null: not yet."
            ),
            "counted_at": said(nullable(MOMENT), "When the outcomes were counted."),
        }
    )
    tick = one_object(
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
                "The tick before it, if that was still being sent: whom that one covers is"
                " skipped.",
            ),
            "triggers": said(COUNT, "How many sends it asked for so far."),
            "progress": progress,
        }
    )
    return {"Tick": tick, "TickPage": page_of("Tick")}


def paths() -> Iterator[Path]:
    """The paths of all this."""
    yield Path(
        path="/api/v1/ticks/",
        tag="Ticks",
        operations={
            "GET": listing(
                "list_ticks",
                "List ticks",
                "Tick",
                _FILTERS,
                description="Those of whole schedules; the newest come first.",
            )
        },
    )
    yield Path(
        path="/api/v1/ticks/{id}/",
        tag="Ticks",
        parameters=key("id", ROW_ID, "The tick."),
        operations={
            "GET": Operation(
                name="read_tick",
                summary="Read a tick",
                answers={200: answer_of(schema("Tick"), "The tick."), **NOT_FOUND},
            )
        },
    )
