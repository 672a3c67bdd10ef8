"""How a trigger of one subscription is answered."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from sbm.model.echo import echoed
from sbm.model.scheduler_callback import Target
from sbm.operations.refusals import NoSuchRow
from sbm.operations.triggers import resend_last, send_next
from sbm.store import scheduler_calls
from sbm.store.postgres.database import Transaction
from sbm.web.http.endpoint import Reply
from sbm.web.http.errors import Invalid, Reason, reason_of
from sbm.web.http.wire import uuid_of
from sbm.web.resources.scheduler_callbacks import Callback


class UnknownSubscription(Invalid):
    """A trigger for a subscription that there is not, or that is no UUID."""

    def __init__(self, key: str) -> None:
        reason = f"Cannot find subscription with ID {echoed(key)}"
        body = {"accepted": False, "reason": reason}
        super().__init__(body, kind="unknown-subscription", fields=())


async def send(key: str, callback: Callback, transaction: Transaction) -> Reply:
    """Owe the next message, unless the Scheduler repeats a call."""
    subscription_id = _subscription_id(key)
    target = Target(kind="subscription", id=subscription_id)
    try:
        return await callback.answer(transaction, target, partial(_send_next, subscription_id))
    except NoSuchRow:
        raise UnknownSubscription(key) from None


async def _send_next(subscription_id: UUID, transaction: Transaction) -> Reply:
    """Owe the next message; "nothing to do" is a success, or the Scheduler would try again."""
    trigger = await send_next(transaction, subscription_id=subscription_id)
    if not trigger.accepted:
        body = {"accepted": False, "reason": trigger.reason}
        return Reply(body=body, reason=Reason(kind="nothing-to-do"))
    return Reply(status=201, body={"accepted": True})


async def resend(key: str, transaction: Transaction) -> Reply:
    """Owe the last message once more."""
    try:
        await resend_last(transaction, subscription_id=_subscription_id(key))
    except NoSuchRow:
        raise UnknownSubscription(key) from None
    return Reply(status=202, body={"accepted": True})


async def stop_calling(key: str, transaction: Transaction) -> Reply:
    """A call that the Scheduler should not make: nothing is sent, and it is told to stop.

    That is owed whether or not there still is such a subscription.
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
