"""``/api/v1/subscriptions``: who gets what; the webhook that subscribes; and the trigger of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import CREATED
from sbm.model.paging import Page, PageRequest
from sbm.model.subscription import PROCESS_STATUSES, READY, Subscription
from sbm.operations.refusals import WrongValues
from sbm.operations.subscribing import (
    begin_with_next,
    change_subscription,
    create_subscription,
    delete_subscription,
    register,
)
from sbm.store import messagesets, schedules, subscriptions
from sbm.store.postgres.database import Transaction
from sbm.telemetry import Tally
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.bodies import JSON, Body
from sbm.web.http.endpoint import REPLAYED, ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import Invalid, Reason
from sbm.web.http.wire import row_uuid
from sbm.web.openapi.parts import ACCEPTED, NOT_ACCEPTED, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import ref, said, schema
from sbm.web.resources.triggers import Triggers
from sbm.web.schema import filters
from sbm.web.schema.fields import (
    NOT_AN_INTEGER,
    REQUIRED,
    Boolean,
    Identity,
    Integer,
    JsonObject,
    Language,
    ReadOnly,
    Reference,
    RowUrl,
)
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import NEWEST_FIRST
from sbm.web.schema.schema import ParsedBody, Schema

PATH = "/api/v1/subscriptions/"

# The lowest place in a message set.
FIRST = 1

SCHEMA = Schema(
    [
        RowUrl(name="url", path=PATH, note="Where it is read."),
        ReadOnly(name="id", shown_as="string", note="A UUID; it is given, and stays."),
        Integer(
            name="version",
            default=1,
            note="The version of the client's own form of subscriptions.",
        ),
        Identity(
            name="identity",
            max_length=36,
            note="The identity in the Identity Store. It is kept in lower case.",
        ),
        Reference(
            name="messageset",
            attribute="messageset_id",
            hold=messagesets.hold,
            note="What is sent.",
        ),
        Integer(
            name="next_sequence_number",
            default=FIRST,
            least=FIRST,
            note="The message that comes next, or the first one after it. Imported rows may have a"
            " number below 1, which can be written back unchanged.",
        ),
        Language(name="lang", max_length=6, note="ISO 639-3, or with a country: eng, eng_ZA."),
        Boolean(name="active", default=True, note="Whether messages are sent."),
        Boolean(
            name="completed",
            default=False,
            note="Whether the last message was sent. Writing true also makes active false, unless"
            " that is written, too, and process_status 2.",
        ),
        Reference(
            name="schedule",
            attribute="schedule_id",
            hold=schedules.hold,
            note="When messages are sent.",
        ),
        Integer(
            name="process_status",
            choices=PROCESS_STATUSES,
            default=READY,
            note="0: ready; 1: a message is under way; 2: completed; -1 and -2: an error, and"
            " nothing is sent until 0 is written.",
        ),
        JsonObject(
            name="metadata",
            null=True,
            default=None,
            note="What belongs to the subscription: an object, or null. `prepend_next_delivery`"
            " goes out before the next message, once: before a sound the URL of a sound, before a"
            " text a text, but not for WhatsApp. With the next message it has at most 1,000"
            " characters, unless the service is set otherwise.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note="When it was made."),
        ReadOnly(name="updated_at", shown_as="datetime", note="When it was last changed."),
        Integer(name="initial_sequence_number", default=FIRST, least=FIRST, note="Where it began."),
        ReadOnly(name="messageset_label", note="The label of the message set."),
    ]
)

FILTERS = [
    Filter(name="id", read=filters.row_uuid, note="This one."),
    Filter(name="identity", read=filters.identity, note="Those of this identity."),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
        note="Those to this message set.",
    ),
    Filter(
        name="messageset_contains",
        read=filters.text,
        note="Those to message sets with this in their short names, exactly so.",
    ),
    Filter(
        name="schedule",
        parameter="schedule_id",
        read=filters.reference,
        exists=schedules.exists,
        note="Those on this schedule.",
    ),
    Filter(name="lang", read=filters.text, note="Those in this language."),
    Filter(name="metadata", read=filters.text, note="Those whose metadata are this text."),
    Filter(name="metadata_has_key", read=filters.text, note="Those whose metadata have this key."),
    Filter(
        name="metadata_not_has_key",
        read=filters.text,
        note="Those whose metadata have no such key, or that have none.",
    ),
    Filter(
        name="active",
        read=filters.boolean,
        note="Those that are active, or not. Any other word is no filter.",
    ),
    Filter(
        name="completed",
        read=filters.boolean,
        note="Those that are completed, or not. Any other word is no filter.",
    ),
    Filter(name="process_status", read=filters.integer, note="Those in this state."),
    Filter(name="version", read=filters.integer, note="Those of this version."),
    Filter(name="next_sequence_number", read=filters.integer, note="Those that have got so far."),
    Filter(name="initial_sequence_number", read=filters.integer, note="Those that began there."),
    Filter(
        name="created_at",
        read=filters.moment,
        note="Those made at this time, to the microsecond.",
    ),
    Filter(name="created_after", read=filters.moment, note="Those made at this time or later."),
    Filter(name="created_before", read=filters.moment, note="Those made at this time or before."),
    Filter(
        name="updated_at",
        read=filters.moment,
        note="Those changed at this time, to the microsecond.",
    ),
    Filter(
        name="created_by",
        read=filters.reference,
        exists=subscriptions.knows_user,
        note="Those made by this user.",
    ),
    Filter(
        name="updated_by",
        read=filters.reference,
        exists=subscriptions.knows_user,
        note="Those changed by this user.",
    ),
]

_EXAMPLE = {
    "identity": "3f2b1a0c-5d6e-4f70-8a9b-0c1d2e3f4a5b",
    "messageset": 1,
    "lang": "eng_ZA",
    "schedule": 1,
}
_LOCATION = {"Location": ref("headers", "Location")}


async def _list_page(
    transaction: Transaction, *, window: PageRequest, **wanted: Any
) -> Page[Subscription]:
    return await subscriptions.list_page(
        transaction, window=window, wanted=subscriptions.Wanted(**wanted)
    )


RESOURCE = Resource[Subscription](
    path=PATH,
    title="Subscription",
    description="API endpoint that allows Subscription models to be viewed or edited.",
    schema=SCHEMA,
    filters=FILTERS,
    order=NEWEST_FIRST,
    key="subscription_id",
    read_key=row_uuid,
    list_page=_list_page,
    find=subscriptions.find,
    create=create_subscription,
    change=change_subscription,
    delete=delete_subscription,
    sentences=Sentences(
        tag="Subscriptions",
        name="subscription",
        one="a subscription",
        many="subscriptions",
        schema_name="Subscription",
        key="The subscription.",
        created=_LOCATION,
        takes_key=True,
        notes={
            "LIST": "The newest come first.",
            "PUT": "What is left out and has a default stays as it is.",
        },
        example=_EXAMPLE,
        change={"active": False},
    ),
)

_REQUEST = OptionsInfo(
    name="Subscription Request",
    description="Webhook listener for registrations now needing a subscription",
)
_TWIN = "The same subscription was requested a short while ago"


@frozen(eq=False, kw_only=True)
class Subscriptions(Collection):
    """The subscriptions, the webhook that makes them, and their triggers.

    ``window``: for how long the webhook refuses the twin of a request without a key; zero: never.
    ``tally`` is told of every subscription that is made.
    """

    app = collection_app()
    resource = RESOURCE

    triggers: Triggers
    window: timedelta
    tally: Tally

    @app.route("/request")
    async def webhook(self, request: Request) -> bytes:
        return await self.endpoint.answer(request, _REQUEST, {"POST": self._subscribe})

    # A key of several segments is no key either, but the answer is that of this path. After such
    # a part, werkzeug does not overlook a last slash.
    @app.route("/<path:key>/send")
    @app.route("/<path:key>/send/")
    async def trigger(self, request: Request, key: str) -> bytes:
        return await self.triggers.send(request, key)

    @app.route("/<path:key>/resend")
    @app.route("/<path:key>/resend/")
    async def repeat(self, request: Request, key: str) -> bytes:
        return await self.triggers.resend(request, key)

    async def create(self, request: ApiRequest) -> Reply:
        """Make a subscription, once for each Idempotency-Key."""
        draft = self.draft(SCHEMA.read(request.body()), request)

        async def create(transaction: Transaction) -> Reply:
            made = await create_subscription(transaction, draft)
            headers = {"Location": _url(request, made.id)}
            return Reply(status=201, body=RESOURCE.shown(request, made), headers=headers)

        return await self._made(request, create)

    async def _subscribe(self, request: ApiRequest) -> Reply:
        """Make a subscription as the Hub asks for it.

        A twin is answered with a success, or the Hub would try again.
        """
        draft = begin_with_next(self.draft(requested(request.body()), request))
        window = timedelta(0) if request.has_key else self.window

        async def subscribe(transaction: Transaction) -> Reply:
            registered = await register(transaction, draft, window=window)
            headers = {"Location": _url(request, registered.subscription_id)}
            if registered.is_twin:
                body = {"accepted": False, "reason": _TWIN}
                return Reply(body=body, headers=headers, reason=Reason(kind="twin"))
            return Reply(status=201, body={"accepted": True}, headers=headers)

        return await self._made(request, subscribe)

    async def _made(
        self, request: ApiRequest, work: Callable[[Transaction], Awaitable[Reply]]
    ) -> Reply:
        """The reply; what was made just now, and not at an earlier request, is counted."""
        try:
            reply = await self.endpoint.once(request, work)
        except WrongValues as refusal:
            raise SCHEMA.told(refusal) from None
        if reply.status == 201 and REPLAYED not in reply.headers:
            self.tally.tell(CREATED)
        return reply


def requested(body: Body) -> ParsedBody:
    """The subscription in the envelope of the webhook; raises Invalid where there is none.

    If it has no metadata, they are an object, unlike those of a subscription that is made directly.
    """
    envelope = body.value
    if not isinstance(envelope, dict) or "data" not in envelope:
        raise Invalid({"data": [REQUIRED]})
    given = Body(value=envelope["data"]).as_object()
    parsed = SCHEMA.read(Body(value={"metadata": {}, **given}))
    # This answer has always named both fields; other faults are those of the one that was sent.
    if "initial_sequence_number" in parsed.defaulted and parsed.errors.get(
        "next_sequence_number"
    ) == [NOT_AN_INTEGER]:
        parsed.refuse("initial_sequence_number", NOT_AN_INTEGER)
    return parsed


def _url(request: ApiRequest, subscription_id: UUID) -> str:
    return request.url(f"{PATH}{subscription_id}/")


SECTION = Section(
    tags=[("Subscriptions", "Who gets which message set, and where she stands in it.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/subscriptions/request",
            tag="Subscriptions",
            operations={
                "POST": Operation(
                    name="request_subscription",
                    summary="Make a subscription, as the Hub does",
                    description="The webhook for registrations. Without an Idempotency-Key, the"
                    " twin of a request is refused for as long as SBM_DUPLICATE_WINDOW says; twins"
                    " ask for the same in every field.",
                    body=schema("SubscriptionRequest"),
                    example={"data": _EXAMPLE | {"next_sequence_number": 1, "metadata": {}}},
                    media_types=(JSON,),
                    answers={
                        200: answer_of(
                            NOT_ACCEPTED,
                            "A twin made it a short while ago: trying again is no use.",
                            **_LOCATION,
                        ),
                        201: answer_of(ACCEPTED, "It is made.", **_LOCATION),
                    },
                    takes_key=True,
                )
            },
        ),
    ],
    schemas={
        **RESOURCE.schemas(),
        "SubscriptionRequest": {
            "type": "object",
            "properties": {
                "data": said(
                    schema("SubscriptionWritten"),
                    "The subscription. Left out, metadata is {} and initial_sequence_number is"
                    " next_sequence_number.",
                )
            },
            "required": ["data"],
        },
    },
)
