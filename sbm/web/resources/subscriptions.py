"""``/api/v1/subscriptions``: who gets what; the webhook that subscribes; and the trigger of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.metrics import CREATED
from sbm.model.paging import Page, PageRequest
from sbm.model.subscription import (
    PROCESS_STATUSES,
    READY,
    Contradiction,
    Subscription,
    consistent,
)
from sbm.model.user import SCHEDULER
from sbm.settings.config import Scheduling
from sbm.store import idempotency, messagesets, schedules, subscriptions
from sbm.store.postgres.database import Transaction
from sbm.telemetry import Tally
from sbm.web.http.bodies import Body
from sbm.web.http.endpoint import REPLAYED, ApiRequest, Endpoint, OptionsInfo, Reply, new_app
from sbm.web.http.errors import Invalid, NotFound, Reason
from sbm.web.http.wire import instant, uuid_of
from sbm.web.resources import triggers
from sbm.web.resources.prepends import judge_prepend
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
)
from sbm.web.schema.filters import Filter
from sbm.web.schema.pages import NEWEST_FIRST, Listing
from sbm.web.schema.schema import ParsedBody, Schema

PATH = "/api/v1/subscriptions/"

# The lowest place in a message set.
FIRST = 1
NUMBERS_IN_SET = ("next_sequence_number", "initial_sequence_number")

SHAPE = Schema(
    [
        ReadOnly(name="url"),
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

_DESCRIPTION = "API endpoint that allows Subscription models to be viewed or edited."
_LIST = OptionsInfo(
    name="Subscription List", description=_DESCRIPTION, actions={"POST": SHAPE.description()}
)
_INSTANCE = OptionsInfo(
    name="Subscription Instance", description=_DESCRIPTION, actions={"PUT": SHAPE.description()}
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
_CONTRADICTION = "This is the status of a completed subscription, and completed is false."


@frozen(eq=False)
class Subscriptions:
    """The subscriptions; ``wake`` is called once a send is owed and committed.

    ``window``: for how long the webhook refuses the twin of a request without a key; zero: never.
    ``tally`` is told of every subscription that is made. What is prepended to a message must leave
    it within ``max_text_length`` characters.
    """

    app = new_app()

    _front: Endpoint
    _wake: Callable[[], None]
    _scheduling: Scheduling
    _callbacks: SchedulerCallbacks
    _window: timedelta
    _tally: Tally
    _max_text_length: int

    @app.route("/")
    async def collection(self, request: Request) -> bytes:
        methods = {"GET": self._list, "POST": self._create}
        return await self._front.answer(request, _LIST, methods)

    @app.route("/request")
    async def webhook(self, request: Request) -> bytes:
        methods = {"POST": self._subscribe}
        return await self._front.answer(request, _REQUEST, methods)

    @app.route("/<key>")
    async def instance(self, request: Request, key: str) -> bytes:
        change = partial(self._change, key)
        methods = {
            "GET": partial(self._read, key),
            "PUT": change,
            "PATCH": change,
            "DELETE": partial(self._delete, key),
        }
        return await self._front.answer(request, _INSTANCE, methods)

    # A key of several segments is no key either, but the answer is that of this path. After such
    # a part, werkzeug does not overlook a last slash.
    @app.route("/<path:key>/send")
    @app.route("/<path:key>/send/")
    async def trigger(self, request: Request, key: str) -> bytes:
        methods = {"POST": partial(self._send, key)}
        return await self._front.answer(request, _SEND, methods)

    @app.route("/<path:key>/resend")
    @app.route("/<path:key>/resend/")
    async def repeat(self, request: Request, key: str) -> bytes:
        methods = {"POST": partial(self._resend, key)}
        return await self._front.answer(request, _RESEND, methods)

    async def _list(self, exchange: ApiRequest) -> Reply:
        return await _LISTING.reply(self._front.database, exchange)

    async def _create(self, exchange: ApiRequest) -> Reply:
        reading = SHAPE.read(exchange.body())
        create = partial(_create, exchange, reading, self._max_text_length)
        return self._told(await self._front.once(exchange, create))

    async def _subscribe(self, exchange: ApiRequest) -> Reply:
        reading = SHAPE.read(requested(exchange.body()))
        _begin_with_next(reading)
        window = timedelta(0) if exchange.has_key else self._window
        subscribe = partial(_subscribe, exchange, reading, window, self._max_text_length)
        return self._told(await self._front.once(exchange, subscribe))

    def _told(self, reply: Reply) -> Reply:
        """The reply; what was made just now, and not at an earlier request, is counted."""
        if reply.status == 201 and REPLAYED not in reply.headers:
            self._tally.tell(CREATED)
        return reply

    async def _read(self, key: str, exchange: ApiRequest) -> Reply:
        found = await self._front.database.transact(
            subscriptions.find, subscription_id=_subscription_id(key)
        )
        if found is None:
            raise NotFound
        return Reply(body=shown(exchange, found))

    async def _change(self, key: str, exchange: ApiRequest) -> Reply:
        changed = await self._front.database.transact(
            _change, _subscription_id(key), exchange, self._max_text_length
        )
        return Reply(body=shown(exchange, changed))

    async def _delete(self, key: str, _exchange: ApiRequest) -> Reply:
        if not await self._front.database.transact(
            subscriptions.delete, subscription_id=_subscription_id(key)
        ):
            raise NotFound
        return Reply(status=204)

    async def _send(self, key: str, exchange: ApiRequest) -> Reply:
        """The body is not read."""
        if exchange.user is SCHEDULER and self._scheduling.mode != "subscription":
            return await self._front.database.transact(partial(triggers.stop_calling, key))
        callback = self._callbacks.of(exchange.user)
        reply = await self._front.once(exchange, partial(triggers.send, key, callback))
        callback.committed()
        if reply.status == 201:
            self._wake()
        return reply

    async def _resend(self, key: str, exchange: ApiRequest) -> Reply:
        """The body is not read."""
        reply = await self._front.once(exchange, partial(triggers.resend, key))
        self._wake()
        return reply


def shown(exchange: ApiRequest, subscription: Subscription) -> dict[str, Any]:
    """A subscription as clients see it."""
    return {
        "url": _url(exchange, subscription.id),
        "id": str(subscription.id),
        "version": subscription.version,
        "identity": subscription.identity,
        "messageset": subscription.messageset_id,
        "next_sequence_number": subscription.next_sequence_number,
        "lang": subscription.lang,
        "active": subscription.active,
        "completed": subscription.completed,
        "schedule": subscription.schedule_id,
        "process_status": subscription.process_status,
        "metadata": subscription.metadata,
        "created_at": instant(subscription.created_at),
        "updated_at": instant(subscription.updated_at),
        "initial_sequence_number": subscription.initial_sequence_number,
        "messageset_label": subscription.messageset_label,
    }


async def _list_page(
    transaction: Transaction, *, window: PageRequest, **wanted: Any
) -> Page[Subscription]:
    return await subscriptions.list_page(
        transaction, window=window, wanted=subscriptions.Wanted(**wanted)
    )


_LISTING = Listing(
    name="subscriptions",
    list_page=_list_page,
    shown=shown,
    order=NEWEST_FIRST,
    filters=FILTERS,
)


def requested(body: Body) -> Body:
    """The subscription in the envelope of the webhook; raises Invalid where there is none.

    If it has no metadata, they are an object, unlike those of a subscription that is made directly.
    """
    envelope = body.value
    if not isinstance(envelope, dict) or "data" not in envelope:
        raise Invalid({"data": [REQUIRED]})
    given = Body(value=envelope["data"]).as_object()
    return Body(value={"metadata": {}, **given})


def _begin_with_next(reading: ParsedBody) -> None:
    """What the webhook makes begins with its next message, unless it says otherwise."""
    if "initial_sequence_number" in reading.given:
        return
    following = reading.values.get("next_sequence_number", FIRST)
    reading.values["initial_sequence_number"] = following
    # This answer has always named both fields; other faults are those of the one that was sent.
    if reading.errors.get("next_sequence_number") == [NOT_AN_INTEGER]:
        reading.refuse("initial_sequence_number", NOT_AN_INTEGER)


def _url(exchange: ApiRequest, subscription_id: UUID) -> str:
    return exchange.url(f"{PATH}{subscription_id}/")


async def _create(
    exchange: ApiRequest, reading: ParsedBody, limit: int, transaction: Transaction
) -> Reply:
    body = shown(exchange, await _made(exchange, reading, limit, transaction))
    return Reply(status=201, body=body, headers={"Location": body["url"]})


async def _subscribe(
    exchange: ApiRequest,
    reading: ParsedBody,
    window: timedelta,
    limit: int,
    transaction: Transaction,
) -> Reply:
    """A twin is answered with a success, or the Hub would try again."""
    if not window:
        made = await _made(exchange, reading, limit, transaction)
        return _subscribed(exchange, made.id)
    fingerprint = _fingerprint(reading)
    first = await idempotency.find_registration(transaction, fingerprint=fingerprint, within=window)
    if first is not None:
        headers = {"Location": _url(exchange, first)}
        body = {"accepted": False, "reason": _TWIN}
        return Reply(body=body, headers=headers, reason=Reason(kind="twin"))
    made = await _made(exchange, reading, limit, transaction)
    await idempotency.keep_registration(
        transaction, fingerprint=fingerprint, subscription_id=made.id
    )
    return _subscribed(exchange, made.id)


def _subscribed(exchange: ApiRequest, subscription_id: UUID) -> Reply:
    headers = {"Location": _url(exchange, subscription_id)}
    return Reply(status=201, body={"accepted": True}, headers=headers)


def _fingerprint(reading: ParsedBody) -> bytes:
    """Of what is asked for, however it was spelt. What cannot be read is nobody's twin."""
    text = json.dumps(reading.attributes(), sort_keys=True)
    return sha256(text.encode("ascii")).digest()


async def _made(
    exchange: ApiRequest, reading: ParsedBody, limit: int, transaction: Transaction
) -> Subscription:
    await reading.look_up(transaction)
    await judge_prepend(transaction, reading, {}, limit)
    reading.check()
    values = reading.attributes() | _consistent(reading.written(), was_completed=False)
    return await subscriptions.create(transaction, **values, created_by=exchange.user.id)


async def _change(
    transaction: Transaction, subscription_id: UUID, exchange: ApiRequest, limit: int
) -> Subscription:
    fields = await subscriptions.lock(transaction, subscription_id=subscription_id)
    if fields is None:
        raise NotFound
    reading = SHAPE.read(exchange.body(), method=exchange.method, stored=fields)
    await reading.look_up(transaction)
    await judge_prepend(transaction, reading, fields, limit)
    reading.check()
    changes = _consistent(reading.written(), was_completed=fields["completed"])
    await subscriptions.update(
        transaction,
        subscription_id=subscription_id,
        fields=fields | changes,
        updated_by=exchange.user.id,
    )
    changed = await subscriptions.find(transaction, subscription_id=subscription_id)
    assert changed is not None
    return changed


def _consistent(changes: dict[str, Any], *, was_completed: bool) -> dict[str, Any]:
    try:
        return consistent(changes, was_completed=was_completed)
    except Contradiction:
        raise Invalid({"process_status": [_CONTRADICTION]}) from None


def _subscription_id(key: str) -> UUID:
    subscription_id = uuid_of(key)
    if subscription_id is None:
        raise NotFound
    return subscription_id
