"""Requests to resend the last message of a subscription."""

from __future__ import annotations

from uuid import UUID

from sbm.model.send import Trigger
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("resends")


async def owe(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe the last message once more, fixed now, or join the resend that is unsettled.

    Nothing about a subscription forbids it; not found is one that does not exist.
    """
    opened = await transaction.maybe(QUERIES.owe_resend, bool, subscription_id=subscription_id)
    return Trigger(found=opened is not None, accepted=opened is not None)
