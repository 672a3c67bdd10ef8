"""Notes in the intake account what became of a request for a subscription."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from sbm.model.identity import canonical_uuid
from sbm.model.intake import IntakeOutcome, without_personal_data
from sbm.operations.drafts import Draft
from sbm.store import intake
from sbm.store.postgres.database import Database
from sbm.store.postgres.errors import DatabaseUnavailable
from sbm.store.postgres.transaction import Transaction
from sbm.web.http.api_request import ApiRequest
from sbm.web.http.endpoint import REPLAYED, InTransaction
from sbm.web.http.http_errors import Refusal, TooLarge, Unauthenticated, reason_of
from sbm.web.http.reply import Reply

# Of these there is a counter only. Without a database, nothing can be noted, and the client is told
# to try again.
_NOT_NOTED = (Unauthenticated, TooLarge, DatabaseUnavailable)


async def note_repeated(
    transaction: Transaction, request: ApiRequest, reply: Reply, draft: Draft
) -> Reply:
    """The reply; if the request has made nothing because it was a repeated one, note it.

    A request that has made a subscription is noted already, by the statement that made it.
    """
    if REPLAYED not in reply.headers and reply.status == 201:
        return reply
    outcome: IntakeOutcome = "replayed" if REPLAYED in reply.headers else "twin"
    subscription_id = canonical_uuid(reply.headers["Location"].rstrip("/").rpartition("/")[2])
    await intake.record(
        transaction,
        outcome=outcome,
        **_caller(request),
        identity=draft.values.get("identity"),
        subscription_id=None if subscription_id is None else UUID(subscription_id),
    )
    return reply


def accounted(
    database: Database,
    work: Callable[[Transaction, ApiRequest], Awaitable[Reply]],
    reply: Callable[[ApiRequest, Reply], Awaitable[Reply]],
) -> InTransaction[Reply]:
    """A method that makes subscriptions, and notes each request that is refused.

    If the note cannot be stored, the request is answered so, and not with its refusal: otherwise
    the account would lack it.
    """
    return InTransaction(work=work, reply=reply, refused=partial(_note_refused, database))


async def _note_refused(database: Database, request: ApiRequest, error: Exception) -> None:
    """Note a refused request, in a transaction of its own; raises DatabaseUnavailable."""
    if isinstance(error, _NOT_NOTED):
        return
    reason, payload = reason_of(error), _payload(request)
    await database.transact(
        intake.record,
        outcome="refused",
        reason=reason.kind,
        fields=reason.fields,
        **_caller(request),
        identity=_identity(payload),
        payload=without_personal_data(payload),
    )


def _caller(request: ApiRequest) -> dict[str, Any]:
    return {
        "caller": request.user.username,
        "user_id": request.user.id,
        "action": request.action,
        "request_id": request.request_id,
        "idempotency_key": request.idempotency_key,
    }


def _payload(request: ApiRequest) -> Any:
    """The body; None if it cannot be read."""
    try:
        return request.body().value
    except Refusal:
        return None


def _identity(payload: Any) -> str | None:
    """The person in the body of a subscription, or in that of the webhook, if it is a UUID."""
    while isinstance(payload, Mapping) and "identity" not in payload:
        payload = payload.get("data")
    given = payload["identity"] if isinstance(payload, Mapping) else None
    return canonical_uuid(given.strip()) if isinstance(given, str) else None
