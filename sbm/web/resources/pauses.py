"""``/api/v1/pauses``: pauses of sends, and their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from attrs import frozen
from twisted.web.server import Request

from sbm.model.send import Lane
from sbm.model.send_pause import OnTicks, PauseScope, PauseState, SendPause
from sbm.model.signature import MAX_REASON, Signature
from sbm.operations import pausing
from sbm.store import messagesets, schedules, send_pauses
from sbm.store.postgres.transaction import Transaction
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import InTransaction, Method
from sbm.web.http.needs import OPERATING
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_id
from sbm.web.openapi.lists import NOT_FOUND
from sbm.web.openapi.parts import Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import schema
from sbm.web.schema import filters
from sbm.web.schema.fields import ID, Choice, ReadOnly, Reference, Text
from sbm.web.schema.filters import Filter
from sbm.web.schema.moments import Moment
from sbm.web.schema.schema import Schema

SCHEMA = Schema(
    [
        ReadOnly(name="id", shown_as="integer", note=ID),
        Reference(
            name="messageset",
            attribute="messageset_id",
            hold=messagesets.hold,
            null=True,
            default=None,
            note="Only messages of this set; null: of all.",
        ),
        Reference(
            name="schedule",
            attribute="schedule_id",
            hold=schedules.hold,
            null=True,
            default=None,
            note="Only sends to subscriptions on this schedule; null: on all.",
        ),
        Choice(
            name="lane",
            choices=get_args(Lane),
            null=True,
            default=None,
            note="Only single sends, or only those of ticks; null: both.",
        ),
        Text(name="reason", max_length=MAX_REASON, note="Why."),
        Moment(
            name="until",
            null=True,
            default=None,
            note="When it ends by itself; null: when somebody resumes.",
        ),
        Choice(
            name="on_ticks",
            choices=get_args(OnTicks),
            default="later",
            note="What ticks ask for meanwhile: `later`: it is sent when the pause ends, one"
            " message at most; `skip`: it is skipped.",
        ),
        ReadOnly(
            name="state",
            note="`pausing`: nothing of it is claimed any more, but some is in hand; `paused`: no"
            " POST of it can begin; `ended`.",
        ),
        ReadOnly(
            name="in_hand",
            shown_as="count",
            note="How many of its sends daemons have in hand now.",
        ),
        ReadOnly(name="paused_by", note="Who began it."),
        Moment(name="since", read_only=True, note="When it began."),
        Moment(name="paused_at", read_only=True, null=True, note="When it came into force."),
        Moment(name="ended_at", read_only=True, null=True, note="When it ended."),
        ReadOnly(name="ended_by", null=True, note="Who ended it; null: nobody."),
    ]
)

FILTERS = [
    Filter(name="state", read=filters.choice(get_args(PauseState)), note="Pauses in this state."),
]

PATH = "/api/v1/pauses/"


RESOURCE = Resource[SendPause](
    path=PATH,
    title="Pause",
    description="Pauses of sends.",
    methods=("GET", "POST"),
    needs=OPERATING,
    schema=SCHEMA,
    filters=FILTERS,
    key="pause_id",
    list_page=send_pauses.list_page,
    find=send_pauses.find,
    sentences=Sentences(
        tag="Pauses",
        name="pause",
        one="a pause",
        many="pauses",
        schema_name="Pause",
        key="The pause.",
        answer="The pause.",
        notes={
            "LIST": "The newest come first.",
            "POST": "Pauses what fits all fields that are given; without any, all sends. From now"
            " on, nothing of it is claimed. Read the pause until its state is `paused`: then no"
            " POST of it can begin.",
        },
        example={"schedule": 1, "reason": "The texts of this week are wrong."},
    ),
)

_RESUME = OptionsInfo(name="Pause Resume", description="Ends a pause of sends")


@frozen(eq=False, kw_only=True)
class Pauses(Collection):
    """The pauses of sends; ``wake`` is called after the commit of a change."""

    app = collection_app()
    resource = RESOURCE

    wake: Callable[[], None]

    @app.route("/<key>/resume")
    async def resume(self, request: Request, key: str) -> bytes:
        end = InTransaction(work=partial(_resume, key), reply=self._resumed)
        return await self.endpoint.answer(request, _RESUME, {"POST": end}, needs=OPERATING)

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list; the daemons notice a new pause at once."""
        begin = InTransaction(work=self._begin, reply=self._begun)
        return super().list_methods() | {"POST": begin}

    async def _begin(self, transaction: Transaction, request: ApiRequest) -> SendPause:
        draft = self.draft(self._schema.read(request.body()), request)
        with self.refusals_told():
            (await draft.hold_references(transaction)).check()
            pause_id = await pausing.pause_sends(
                transaction,
                scope=PauseScope(
                    lane=draft.values["lane"],
                    schedule_id=draft.values["schedule_id"],
                    messageset_id=draft.values["messageset_id"],
                ),
                on_ticks=draft.values["on_ticks"],
                until=draft.values["until"],
                signature=Signature(actor=request.user.username, reason=draft.values["reason"]),
            )
        found = await send_pauses.find(transaction, pause_id=pause_id)
        assert found is not None
        return found

    async def _begun(self, request: ApiRequest, pause: SendPause) -> Reply:
        self.wake()
        return Reply(status=201, body=self.resource.shown(request, pause))

    async def _resumed(self, request: ApiRequest, pause: SendPause) -> Reply:
        self.wake()
        return Reply(body=self.resource.shown(request, pause))


async def _resume(key: str, transaction: Transaction, request: ApiRequest) -> SendPause:
    """The body is not read."""
    return await pausing.resume_one(
        transaction, pause_id=row_id(key), signature=Signature(actor=request.user.username)
    )


SECTION = Section(
    tags=[("Pauses", "While a pause lasts, what it concerns is not sent.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/pauses/{id}/resume/",
            tag="Pauses",
            needs=OPERATING,
            parameters=RESOURCE.row_key,
            operations={
                "POST": Operation(
                    name="resume_pause",
                    summary="End a pause",
                    description="What was held back is sent. If the pause has ended already,"
                    " nothing changes. The body is not read.",
                    answers={
                        200: answer_of(schema("Pause"), "The pause as it is now."),
                        **NOT_FOUND,
                    },
                )
            },
        ),
    ],
    schemas=RESOURCE.schemas(),
)
