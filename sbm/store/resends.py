"""Requests to resend the last message of a subscription."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.send import Trigger
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("resends")


async def owe(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe the last message once more, as it is now, or join the resend that is live.

    No state of a subscription forbids it. It is not found only if it does not exist.
    """
    opened = await transaction.maybe(QUERIES.owe_resend, bool, subscription_id=subscription_id)
    return Trigger(found=opened is not None, accepted=opened is not None)


async def answer(transaction: Transaction, *, outbounds: Mapping[UUID, str]) -> None:
    """Give all requests the outbounds of their sends, which this transaction has settled."""
    rows = [
        {"send_id": str(send_id), "outbound_id": outbound_id}
        for send_id, outbound_id in outbounds.items()
    ]
    await transaction.execute(QUERIES.answer_resends, outbounds=Json(rows))
