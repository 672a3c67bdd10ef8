"""Sends: owed, claimed under a lease, settled."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import timedelta

from psycopg2.extras import Json

from sbm.model.send import GivenBack, Message, Recipient, Result, Send, Settled, Trigger, Unknown
from sbm.store.database import Row, Transaction
from sbm.store.queries import load

QUERIES = load("sends")


async def owe(transaction: Transaction, *, subscription_id: uuid.UUID) -> Trigger:
    """Owe the next message to one subscription, ahead of those that a tick owes."""
    row = await transaction.row(QUERIES.owe_send, subscription_id=subscription_id)
    if row is None:
        return Trigger(found=False, accepted=False)
    return Trigger(found=True, accepted=row["send_id"] is not None, reason=row["reason"] or "")


async def claim(
    transaction: Transaction, *, owner: uuid.UUID, limit: int, lease: timedelta
) -> list[Send]:
    """Lease up to ``limit`` due sends to ``owner``; in no particular order."""
    rows = await transaction.rows(QUERIES.claim_due_sends, owner=owner, limit=limit, lease=lease)
    return [_send(row) for row in rows]


async def give_back_strays(
    transaction: Transaction, *, owner: uuid.UUID, known: Iterable[uuid.UUID]
) -> int:
    """Owe again the claims of ``owner`` that it does not know of; returns how many there were."""
    rows = await transaction.rows(QUERIES.give_back_strays, owner=owner, known=list(known))
    return len(rows)


async def renew(
    transaction: Transaction, *, owner: uuid.UUID, ids: Iterable[uuid.UUID], lease: timedelta
) -> set[uuid.UUID]:
    """Lengthen the leases of these claims to ``lease`` from now; returns those still owned."""
    rows = await transaction.rows(QUERIES.renew_leases, owner=owner, ids=list(ids), lease=lease)
    return {row["id"] for row in rows}


async def settle(
    transaction: Transaction, *, results: Mapping[uuid.UUID, tuple[int, Result]]
) -> set[uuid.UUID]:
    """Settle, give back, or mark as unknown a batch of claims: send id to (attempt, result).

    Returns the ids that were still claimed with that attempt; the others moved nothing.
    """
    settled, given_back, unknown = [], [], []
    for send_id, (attempt, result) in results.items():
        claim = {"id": str(send_id), "attempt": attempt, "reason": _storable(result.reason)}
        if isinstance(result, Settled):
            claim |= {"outcome": result.outcome, "stage": result.stage}
            outbound_id = None if result.outbound_id is None else _storable(result.outbound_id)
            settled.append(claim | {"outbound_id": outbound_id})
        elif isinstance(result, GivenBack):
            given_back.append(claim | {"seconds": result.delay.total_seconds()})
        elif isinstance(result, Unknown):
            unknown.append(claim)
    rows: list[Row] = []
    if settled:
        rows += await transaction.rows(QUERIES.settle_sends, outcomes=Json(settled))
    if given_back:
        rows += await transaction.rows(QUERIES.give_back_sends, given_back=Json(given_back))
    if unknown:
        rows += await transaction.rows(QUERIES.mark_unknown, unknown=Json(unknown))
    return {row["id"] for row in rows}


async def expire(transaction: Transaction, *, limit: int) -> int:
    """Mark as unknown up to ``limit`` claims whose lease has ended; returns how many."""
    return len(await transaction.rows(QUERIES.expire_leases, limit=limit))


def _storable(text: str) -> str:
    """The text without what PostgreSQL cannot store: one such answer would hold up its batch."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _send(row: Row) -> Send:
    return Send(
        id=row["id"],
        kind=row["kind"],
        attempt=row["attempt"],
        subscription_id=row["subscription_id"],
        identity=row["identity"],
        prepend=row["prepend"],
        recipient=_recipient(row) if row["subscribed"] else None,
    )


def _recipient(row: Row) -> Recipient:
    return Recipient(
        active=row["active"],
        completed=row["completed"],
        process_status=row["process_status"],
        lang=row["lang"],
        messageset=row["short_name"],
        content_type=row["content_type"],
        channel=row["channel"],
        message=None if row["sequence_number"] is None else _message(row),
    )


def _message(row: Row) -> Message:
    return Message(
        sequence_number=row["sequence_number"],
        text_content=row["text_content"],
        file_name=row["file_name"],
        metadata=row["metadata"],
    )
