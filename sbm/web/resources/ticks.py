"""``/api/v1/ticks``: the ticks of schedules, and how far their sends have come."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from attrs import frozen
from twisted.web.server import Request

from sbm.model.hold import HOLDS
from sbm.model.instants import instant
from sbm.model.send import Outcome
from sbm.model.signature import Signature
from sbm.model.tick import Source, Tick, TickState
from sbm.operations.releases import release_tick
from sbm.store import schedules, ticks
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction
from sbm.web.http.http_errors import NotFound
from sbm.web.http.needs import OPERATING
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import nullable, one_object, said, schema
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
        "skipped_again": said(
            COUNT,
            "How many of these were skipped and have no row of this tick in the ledger: their row"
            " of an earlier tick says why. They are among the outcomes.",
        ),
        "progress": _PROGRESS,
        "held": said(
            nullable(TEXT | {"enum": list(HOLDS)}),
            "Why it is held back: `paused`; `hours`: outside the hours of its schedule; `braked` or"
            " `canary`: until a person releases it; `stopped`: for good; null: it is not.",
        ),
        "stopped_by": said(
            nullable(TEXT), "The user who stopped it for good: what was left of it is skipped."
        ),
        "stopped_at": said(nullable(MOMENT), "When it was stopped."),
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
        "skipped_again": tick.skipped_again,
        "progress": {
            "expanded_share": tick.expanded_share,
            "live": tick.live,
            "settled": tick.settled,
            "outcomes": outcomes,
            "counted_at": None if tick.counted_at is None else instant(tick.counted_at),
        },
        "held": tick.hold,
        "stopped_by": tick.stopped_by,
        "stopped_at": None if tick.stopped_at is None else instant(tick.stopped_at),
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


_RELEASE = OptionsInfo(name="Tick Release", description="Lets a tick go on that is held back")


@frozen(eq=False, kw_only=True)
class Ticks(Collection):
    """The ticks; clients can read them, and release those that are held back."""

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]

    @app.route("/<key>/release")
    async def release(self, request: Request, key: str) -> bytes:
        let_go = InTransaction(work=partial(_release, key), reply=self._released)
        return await self.endpoint.answer(request, _RELEASE, {"POST": let_go}, needs=OPERATING)

    async def _released(self, request: ApiRequest, tick: Tick) -> Reply:
        self.wake()
        return Reply(body=shown(request, tick))


async def _release(key: str, transaction: Transaction, request: ApiRequest) -> Tick:
    """The body is not read."""
    tick_id = row_id(key)
    await release_tick(
        transaction, tick_id=tick_id, signature=Signature(actor=request.user.username)
    )
    tick = await ticks.find(transaction, tick_id=tick_id)
    if tick is None:
        raise NotFound
    return tick


SECTION = Section(
    tags=[("Ticks", 'A tick says "now" for a schedule. It shows how far the sends have come.')],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/ticks/{id}/release/",
            tag="Ticks",
            needs=OPERATING,
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="release_tick",
                    summary="Let a tick go on",
                    description="A tick that was stopped by its brake, or waits after its canary,"
                    " goes on; the brake counts anew. The body is not read.",
                    answers={
                        200: answer_of(schema("Tick"), "The tick as it is now."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas=RESOURCE.schemas(),
)
