"""``/api/v1/subscriptions``: who gets what; the webhook that subscribes; and the trigger of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import CREATED
from sbm.model.paging import Page, PageRequest
from sbm.model.subscription import PROCESS_STATUSES, READY, Subscription
from sbm.model.user import SCHEDULER
from sbm.operations.refusals import WrongValues
from sbm.operations.subscribing import (
    begin_with_next,
    change_subscription,
    create_subscription,
    delete_subscription,
    register,
)
from sbm.settings.config import Scheduling
from sbm.store import messagesets, schedules, subscriptions
from sbm.store.postgres.database import Transaction
from sbm.telemetry import Tally
from sbm.web.declaration.resource import Resource
from sbm.web.declaration.rows import Rows, collection
from sbm.web.http.bodies import Body
from sbm.web.http.endpoint import REPLAYED, ApiRequest, OptionsInfo, Reply
from sbm.web.http.errors import Invalid, Reason
from sbm.web.http.wire import row_uuid
from sbm.web.resources import triggers
from sbm.web.resources.scheduler_callbacks import SchedulerCallbacks
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
NUMBERS_IN_SET = ("next_sequence_number", "initial_sequence_number")

SCHEMA = Schema(
    [
        RowUrl(name="url", path=PATH),
        ReadOnly(name="id", shown_as="string"),
        Integer(name="version", default=1),
        Identity(name="identity", max_length=36),
        Reference(name="messageset", attribute="messageset_id", hold=messagesets.hold),
        Integer(name="next_sequence_number", default=FIRST, least=FIRST),
        Language(name="lang", max_length=6),
        Boolean(name="active", default=True),
        Boolean(name="completed", default=False),
        Reference(name="schedule", attribute="schedule_id", hold=schedules.hold),
        Integer(name="process_status", choices=PROCESS_STATUSES, default=READY),
        JsonObject(name="metadata", null=True, default=None),
        ReadOnly(name="created_at", shown_as="datetime"),
        ReadOnly(name="updated_at", shown_as="datetime"),
        Integer(name="initial_sequence_number", default=FIRST, least=FIRST),
        ReadOnly(name="messageset_label"),
    ]
)

FILTERS = [
    Filter(name="id", parameter="id", read=filters.row_uuid),
    Filter(name="identity", parameter="identity", read=filters.identity),
    Filter(
        name="messageset",
        parameter="messageset_id",
        read=filters.reference,
        exists=messagesets.exists,
    ),
    Filter(name="messageset_contains", parameter="messageset_contains", read=filters.text),
    Filter(
        name="schedule", parameter="schedule_id", read=filters.reference, exists=schedules.exists
    ),
    *(
        Filter(name=name, parameter=name, read=filters.text)
        for name in ("lang", "metadata", "metadata_has_key", "metadata_not_has_key")
    ),
    *(Filter(name=name, parameter=name, read=filters.boolean) for name in ("active", "completed")),
    *(
        Filter(name=name, parameter=name, read=filters.integer)
        for name in ("process_status", "version", *NUMBERS_IN_SET)
    ),
    *(
        Filter(name=name, parameter=name, read=filters.moment)
        for name in ("created_at", "created_after", "created_before", "updated_at")
    ),
    *(
        Filter(name=name, parameter=name, read=filters.reference, exists=subscriptions.knows_user)
        for name in ("created_by", "updated_by")
    ),
]


async def _list_page(
    transaction: Transaction, *, window: PageRequest, **wanted: Any
) -> Page[Subscription]:
    return await subscriptions.list_page(
        transaction, window=window, wanted=subscriptions.Wanted(**wanted)
    )


RESOURCE = Resource[Subscription](
    path=PATH,
    title="Subscription",
    about="API endpoint that allows Subscription models to be viewed or edited.",
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
)

_REQUEST = OptionsInfo(
    name="Subscription Request",
    description="Webhook listener for registrations now needing a subscription",
)
_SEND = OptionsInfo(
    name="Subscription Send", description="Triggers a send for the next subscription message"
)
_RESEND = OptionsInfo(
    name="Subscription Resend", description="Sends the last message of a subscription once more"
)

_TWIN = "The same subscription was requested a short while ago"


@frozen(eq=False, kw_only=True)
class Subscriptions(Rows):
    """The subscriptions; ``wake`` is called once a send is owed and committed.

    ``window``: for how long the webhook refuses the twin of a request without a key; zero: never.
    ``tally`` is told of every subscription that is made.
    """

    app = collection()
    resource = RESOURCE

    wake: Callable[[], None]
    scheduling: Scheduling
    callbacks: SchedulerCallbacks
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
        return await self.endpoint.answer(request, _SEND, {"POST": partial(self._send, key)})

    @app.route("/<path:key>/resend")
    @app.route("/<path:key>/resend/")
    async def repeat(self, request: Request, key: str) -> bytes:
        return await self.endpoint.answer(request, _RESEND, {"POST": partial(self._resend, key)})

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

    async def _send(self, key: str, request: ApiRequest) -> Reply:
        """The body is not read."""
        if request.user is SCHEDULER and self.scheduling.mode != "subscription":
            return await self.endpoint.database.transact(partial(triggers.stop_calling, key))
        callback = self.callbacks.of(request.user)
        reply = await self.endpoint.once(request, partial(triggers.send, key, callback))
        callback.committed()
        if reply.status == 201:
            self.wake()
        return reply

    async def _resend(self, key: str, request: ApiRequest) -> Reply:
        """The body is not read."""
        reply = await self.endpoint.once(request, partial(triggers.resend, key))
        self.wake()
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
