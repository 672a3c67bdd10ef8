"""``/api/v1/subscriptions``: subscriptions, the webhook that makes them, and their triggers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import CREATED
from sbm.model.paging import Page, PageRequest
from sbm.model.subscription import PROCESS_STATUSES, READY, Subscription
from sbm.model.user import PEOPLE_ACT, PEOPLE_READ
from sbm.operations.subscribing import (
    begin_with_next,
    change_subscription,
    create_subscription,
    delete_subscription,
    register,
)
from sbm.store import messagesets, schedules, subscriptions
from sbm.store.postgres.transaction import Transaction
from sbm.telemetry import PendingMetrics
from sbm.web.declaration.collection import Collection, collection_app
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.sentences import Sentences
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.bodies import JSON, Body
from sbm.web.http.endpoint import REPLAYED, Method, once
from sbm.web.http.http_errors import Invalid, Reason
from sbm.web.http.needs import writing
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import row_uuid
from sbm.web.openapi.parts import ACCEPTED, NOT_ACCEPTED, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import ref, said, schema
from sbm.web.resources.intake_notes import accounted, note_repeated
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

FIRST = 1  # the lowest place in a message set

SCHEMA = Schema(
    [
        RowUrl(name="url", path=PATH, note="The URL of the subscription."),
        ReadOnly(name="id", shown_as="string", note="A UUID. The service makes it."),
        Integer(
            name="version",
            default=1,
            note="The version of the client's own form of subscriptions.",
        ),
        Identity(
            name="identity",
            max_length=36,
            note="The identity in the Identity Store. It is stored in lower case.",
        ),
        Reference(
            name="messageset",
            attribute="messageset_id",
            hold=messagesets.hold,
            note="The message set.",
        ),
        Integer(
            name="next_sequence_number",
            default=FIRST,
            least=FIRST,
            note="The number of the next message; if there is none, the message after it is sent."
            " Imported rows may have a number below 1, which can be written back unchanged.",
        ),
        Language(name="lang", max_length=6, note="ISO 639-3, or with a country: eng, eng_ZA."),
        Boolean(name="active", default=True, note="Whether messages are sent."),
        Boolean(
            name="completed",
            default=False,
            note="Whether the last message was sent. If true is written, process_status becomes 2,"
            " and active becomes false, unless active is written, too.",
        ),
        Reference(
            name="schedule",
            attribute="schedule_id",
            hold=schedules.hold,
            note="The schedule on which messages are sent.",
        ),
        Integer(
            name="process_status",
            choices=PROCESS_STATUSES,
            default=READY,
            note="0: ready; 1: a message is in progress; 2: completed; -1 and -2: an error: nothing"
            " is sent until 0 is written.",
        ),
        JsonObject(
            name="metadata",
            null=True,
            default=None,
            note="Any members that clients need: an object, or null. `prepend_next_delivery` goes"
            " out once, before the next message. Before a sound, it is the URL of a sound; before a"
            " text, it is a text. It is refused for WhatsApp. Together with the next message, it"
            " has at most 1,000 characters, unless SBM_MAX_TEXT_LENGTH has another value. Metadata"
            " have at most 16,384 bytes, unless SBM_MAX_METADATA_BYTES has another value, and 1,000"
            " values.",
        ),
        ReadOnly(name="created_at", shown_as="datetime", note="When it was made."),
        ReadOnly(name="updated_at", shown_as="datetime", note="When it was last changed."),
        Integer(
            name="initial_sequence_number", default=FIRST, least=FIRST, note="Its first message."
        ),
        ReadOnly(name="messageset_label", note="The label of the message set."),
    ]
)

FILTERS = [
    Filter(name="id", read=filters.row_uuid, note="The subscription with this id."),
    Filter(name="identity", read=filters.identity, note="Subscriptions of this identity."),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
        note="Subscriptions to this message set.",
    ),
    Filter(
        name="messageset_contains",
        read=filters.text,
        note="Subscriptions to message sets with this text in their short names; case matters.",
    ),
    Filter(
        name="schedule",
        parameter="schedule_id",
        read=filters.reference,
        exists=schedules.exists,
        note="Subscriptions on this schedule.",
    ),
    Filter(name="lang", read=filters.text, note="Subscriptions in this language."),
    Filter(name="metadata", read=filters.text, note="Metadata is this text."),
    Filter(name="metadata_has_key", read=filters.text, note="Metadata has this key."),
    Filter(
        name="metadata_not_has_key",
        read=filters.text,
        note="Subscriptions without metadata, or without this key in it.",
    ),
    Filter(
        name="active",
        read=filters.boolean,
        note="Whether subscriptions are active. Other words than true and false are ignored.",
    ),
    Filter(
        name="completed",
        read=filters.boolean,
        note="Whether subscriptions are completed. Other words than true and false are ignored.",
    ),
    Filter(name="process_status", read=filters.integer, note="Subscriptions in this state."),
    Filter(name="version", read=filters.integer, note="Subscriptions of this version."),
    Filter(name="next_sequence_number", read=filters.integer, note="With this next number."),
    Filter(name="initial_sequence_number", read=filters.integer, note="Began with this number."),
    Filter(name="created_at", read=filters.moment, note="Made at this time, to the microsecond."),
    Filter(name="created_after", read=filters.moment, note="Made at this time or later."),
    Filter(name="created_before", read=filters.moment, note="Made at this time or before."),
    Filter(
        name="updated_at",
        read=filters.moment,
        note="Subscriptions changed at this time, to the microsecond.",
    ),
    Filter(
        name="created_by",
        read=filters.reference,
        exists=subscriptions.knows_user,
        note="Subscriptions made by this user.",
    ),
    Filter(
        name="updated_by",
        read=filters.reference,
        exists=subscriptions.knows_user,
        note="Subscriptions changed by this user.",
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
    transaction: Transaction, *, page: PageRequest, **wanted: Any
) -> Page[Subscription]:
    return await subscriptions.list_page(
        transaction, page=page, wanted=subscriptions.SubscriptionFilter(**wanted)
    )


RESOURCE = Resource[Subscription](
    path=PATH,
    title="Subscription",
    description="API endpoint that allows Subscription models to be viewed or edited.",
    needs=writing(PEOPLE_ACT, read=PEOPLE_READ),
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
            "PUT": "A field that is left out and has a default is not changed.",
        },
        example=_EXAMPLE,
        change={"active": False},
    ),
)

_REQUEST = OptionsInfo(
    name="Subscription Request",
    description="Webhook listener for registrations now needing a subscription",
)
_DUPLICATE = "The same subscription was requested a short while ago"


@frozen(eq=False, kw_only=True)
class Subscriptions(Collection):
    """The subscriptions, the webhook that makes them, and their triggers.

    For ``window``, the webhook refuses a request without a key that repeats an earlier one; zero:
    never. ``pending_metrics`` counts every subscription that is made.
    """

    app = collection_app()
    resource = RESOURCE

    triggers: Triggers
    window: timedelta
    pending_metrics: PendingMetrics

    @app.route("/request")
    async def webhook(self, request: Request) -> bytes:
        methods = {"POST": accounted(self.endpoint.database, self._subscribe, self._counted)}
        return await self.endpoint.answer(request, _REQUEST, methods, needs=RESOURCE.needs)

    # A key with slashes does not exist, but this path must answer. After a part of the type
    # ``path``, werkzeug needs a second route for the last slash.
    @app.route("/<path:key>/send")
    @app.route("/<path:key>/send/")
    async def trigger(self, request: Request, key: str) -> bytes:
        return await self.triggers.send(request, key)

    @app.route("/<path:key>/resend")
    @app.route("/<path:key>/resend/")
    async def repeat(self, request: Request, key: str) -> bytes:
        return await self.triggers.resend(request, key)

    def list_methods(self) -> dict[str, Method]:
        """The methods of the list; each subscription that is made is counted."""
        make = accounted(self.endpoint.database, self.create, self._counted)
        return super().list_methods() | {"POST": make}

    async def create(self, transaction: Transaction, request: ApiRequest) -> Reply:
        """Make a subscription, once for each Idempotency-Key."""
        draft = self.draft(SCHEMA.read(request.body()), request)

        async def create(transaction: Transaction) -> Reply:
            made = await create_subscription(transaction, draft)
            headers = {"Location": _url(request, made.id)}
            return Reply(status=201, body=RESOURCE.shown(request, made), headers=headers)

        with self.refusals_told():
            reply = await once(transaction, request, create)
        return await note_repeated(transaction, request, reply, draft)

    async def _subscribe(self, transaction: Transaction, request: ApiRequest) -> Reply:
        """Make a subscription for a request of the Hub.

        The answer to a repeated request is a success: otherwise the Hub would try again.
        """
        draft = begin_with_next(self.draft(requested(request.body()), request))
        window = timedelta(0) if request.has_key else self.window

        async def subscribe(transaction: Transaction) -> Reply:
            registered = await register(transaction, draft, window=window)
            headers = {"Location": _url(request, registered.subscription_id)}
            if registered.is_duplicate:
                body = {"accepted": False, "reason": _DUPLICATE}
                return Reply(body=body, headers=headers, reason=Reason(kind="duplicate"))
            return Reply(status=201, body={"accepted": True}, headers=headers)

        with self.refusals_told():
            reply = await once(transaction, request, subscribe)
        return await note_repeated(transaction, request, reply, draft)

    async def _counted(self, _request: ApiRequest, reply: Reply) -> Reply:
        """The reply; counts a subscription only if this request made it, not an earlier one."""
        if reply.status == 201 and REPLAYED not in reply.headers:
            self.pending_metrics.add(CREATED)
        return reply


def requested(body: Body) -> ParsedBody:
    """The subscription in the body of a request to the webhook; raises Invalid if there is none.

    The default of the metadata is an object here; for a subscription that is made directly, it is
    null.
    """
    envelope = body.value
    if not isinstance(envelope, dict) or "data" not in envelope:
        raise Invalid({"data": [REQUIRED]})
    given = Body(value=envelope["data"]).as_object()
    parsed = SCHEMA.read(Body(value={"metadata": {}, **given}))
    # In the old service, this answer names both fields. Other errors name the field that was sent.
    if "initial_sequence_number" in parsed.defaulted and parsed.errors.get(
        "next_sequence_number"
    ) == [NOT_AN_INTEGER]:
        parsed.refuse("initial_sequence_number", NOT_AN_INTEGER)
    return parsed


def _url(request: ApiRequest, subscription_id: UUID) -> str:
    return request.url(f"{PATH}{subscription_id}/")


SECTION = Section(
    tags=[("Subscriptions", "Who gets which message set, and where they are in it.")],
    paths=[
        *RESOURCE.paths(),
        PathItem(
            path="/api/v1/subscriptions/request",
            tag="Subscriptions",
            needs=RESOURCE.needs,
            operations={
                "POST": Operation(
                    name="request_subscription",
                    summary="Make a subscription, as the Hub does",
                    description="The webhook for registrations. A request without an"
                    " Idempotency-Key is refused if an earlier one had the same values in all"
                    " fields, and SBM_DUPLICATE_WINDOW is not over.",
                    body=schema("SubscriptionRequest"),
                    example={"data": _EXAMPLE | {"next_sequence_number": 1, "metadata": {}}},
                    media_types=(JSON,),
                    answers={
                        200: answer_of(
                            NOT_ACCEPTED,
                            "An earlier request made the same subscription. Do not try again.",
                            **_LOCATION,
                        ),
                        201: answer_of(ACCEPTED, "The subscription was made.", **_LOCATION),
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
