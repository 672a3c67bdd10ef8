"""The triggers of one subscription, and the answers to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from attrs import frozen
from twisted.web.server import Request

from sbm.model.echo import echoed
from sbm.model.scheduler_callback import Target
from sbm.model.user import SCHEDULER
from sbm.operations.refusals import NoSuchRow
from sbm.operations.triggers import resend_last, send_next
from sbm.settings.config import SchedulingSettings
from sbm.store import scheduler_calls
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import Endpoint, InTransaction, once
from sbm.web.http.http_errors import Invalid, Reason, reason_of
from sbm.web.http.needs import CALLED_BACK, OPERATING
from sbm.web.http.reply import OptionsInfo, Reply
from sbm.web.http.wire import uuid_of
from sbm.web.openapi.lists import key
from sbm.web.openapi.parts import ACCEPTED, NOT_ACCEPTED, Operation, PathItem, Section, answer_of
from sbm.web.openapi.schemas import schema
from sbm.web.resources.scheduler_callbacks import Callback, SchedulerCallbacks
from sbm.web.schema.json_schema import TEXT

_SEND = OptionsInfo(
    name="Subscription Send", description="Triggers a send for the next subscription message"
)
_RESEND = OptionsInfo(
    name="Subscription Resend", description="Sends the last message of a subscription once more"
)


class UnknownSubscription(Invalid):
    """The answer to a trigger with an unknown subscription, or a key that is not a UUID."""

    def __init__(self, key: str) -> None:
        reason = f"Cannot find subscription with ID {echoed(key)}"
        body = {"accepted": False, "reason": reason}
        super().__init__(body, kind="unknown-subscription", fields=())


@frozen(eq=False, kw_only=True)
class Triggers:
    """The triggers; ``wake`` is called after the commit of an owed send."""

    endpoint: Endpoint
    wake: Callable[[], None]
    scheduling: SchedulingSettings
    callbacks: SchedulerCallbacks

    async def send(self, request: Request, key: str) -> bytes:
        """Answer a request to owe the next message of the subscription with this key."""
        send = InTransaction(work=partial(self._send, key), reply=self._sent, lane="prompt")
        return await self.endpoint.answer(request, _SEND, {"POST": send}, needs=CALLED_BACK)

    async def resend(self, request: Request, key: str) -> bytes:
        """Answer a request to owe the last message once more."""
        resend = InTransaction(work=partial(_resend, key), reply=self._resent, lane="prompt")
        return await self.endpoint.answer(request, _RESEND, {"POST": resend}, needs=OPERATING)

    async def _send(
        self, key: str, transaction: Transaction, request: ApiRequest
    ) -> tuple[Callback, Reply]:
        """The body is not read."""
        callback = self.callbacks.of(request.user)
        if request.user is SCHEDULER and self.scheduling.mode != "subscription":
            return callback, await _stop_calling(key, transaction)
        return callback, await once(transaction, request, partial(_send, key, callback))

    async def _sent(self, _request: ApiRequest, sent: tuple[Callback, Reply]) -> Reply:
        callback, reply = sent
        callback.committed()
        if reply.status == 201:
            self.wake()
        return reply

    async def _resent(self, _request: ApiRequest, reply: Reply) -> Reply:
        self.wake()
        return reply


async def _send(key: str, callback: Callback, transaction: Transaction) -> Reply:
    """Owe the next message, unless the Scheduler repeats a call."""
    subscription_id = _subscription_id(key)
    target = Target(kind="subscription", id=subscription_id)
    try:
        return await callback.answer(transaction, target, partial(_send_next, subscription_id))
    except NoSuchRow:
        raise UnknownSubscription(key) from None


async def _send_next(subscription_id: UUID, transaction: Transaction) -> Reply:
    """Owe the next message; "nothing to do" is a success, so the Scheduler does not try again."""
    trigger = await send_next(transaction, subscription_id=subscription_id)
    if not trigger.accepted:
        body = {"accepted": False, "reason": trigger.reason}
        return Reply(body=body, reason=Reason(kind="nothing-to-do"))
    return Reply(status=201, body={"accepted": True})


async def _resend(key: str, transaction: Transaction, request: ApiRequest) -> Reply:
    """The body is not read."""
    return await once(transaction, request, partial(_resend_last, key))


async def _resend_last(key: str, transaction: Transaction) -> Reply:
    """Owe the last message once more."""
    try:
        await resend_last(transaction, subscription_id=_subscription_id(key))
    except NoSuchRow:
        raise UnknownSubscription(key) from None
    return Reply(status=202, body={"accepted": True})


async def _stop_calling(key: str, transaction: Transaction) -> Reply:
    """The Scheduler should not make this call: send nothing, and owe the call that stops it.

    That call is owed even if the subscription does not exist any more.
    """
    trigger = await scheduler_calls.stop_calling(transaction, subscription_id=_subscription_id(key))
    if not trigger.found:
        unknown = UnknownSubscription(key)
        return Reply(status=400, body=unknown.body, reason=reason_of(unknown))
    body = {"accepted": False, "reason": trigger.reason}
    return Reply(body=body, reason=Reason(kind="not-called-for"))


def _subscription_id(key: str) -> UUID:
    subscription_id = uuid_of(key)
    if subscription_id is None:
        raise UnknownSubscription(key)
    return subscription_id


_KEY = key(
    "id", TEXT | {"minLength": 1}, "The id of the subscription. Any text is read, not only a UUID."
)
_UNKNOWN = answer_of({"anyOf": [NOT_ACCEPTED, schema("Detail")]}, "There is no such subscription.")

SECTION = Section(
    paths=[
        PathItem(
            path="/api/v1/subscriptions/{id}/send",
            tag="Subscriptions",
            needs=CALLED_BACK,
            parameters=_KEY,
            operations={
                "POST": Operation(
                    name="send_subscription",
                    summary="Send the next message of a subscription, now",
                    description="It is sent in the background. The body is not read. If a call with"
                    " the Scheduler's token repeats a call of the same due moment, it gets the same"
                    " answer, and sends nothing.",
                    answers={
                        200: answer_of(NOT_ACCEPTED, "There is nothing to send. Do not try again."),
                        201: answer_of(ACCEPTED, "The message is owed."),
                        400: _UNKNOWN,
                    },
                    takes_key=True,
                )
            },
        ),
        PathItem(
            path="/api/v1/subscriptions/{id}/resend",
            tag="Subscriptions",
            needs=OPERATING,
            parameters=_KEY,
            operations={
                "POST": Operation(
                    name="resend_subscription",
                    summary="Send the last message of a subscription once more",
                    description="This sends the last sent message of the present message set again,"
                    " in the present language, or else as it was sent. If it no longer exists, the"
                    " resend becomes a failed task. It is sent in the background. The body is not"
                    " read.",
                    answers={202: answer_of(ACCEPTED, "It is owed."), 400: _UNKNOWN},
                    takes_key=True,
                )
            },
        ),
    ]
)
