"""Sends: they are owed, claimed under a lease, and settled."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.send import (
    CONTENT_SETTLE,
    GivenBack,
    LiveSend,
    MessageToSend,
    Send,
    SendResult,
    Settled,
    Trigger,
    Unknown,
    UnknownSend,
    UnreadableSend,
)
from sbm.store import resends
from sbm.store.claimed_sends import claimed_send, content
from sbm.store.postgres.rows import by_column
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction

QUERIES = load("sends")

# The sends that can be settled: they have an id, an attempt and a subscription.
SettledSend = Send | UnknownSend | UnreadableSend | LiveSend

# The text of an array of places without any.
NO_PLACES = "{}"

# The longest pause between two questions about the same send; the pauses grow up to it.
ASKED_AGAIN = timedelta(minutes=10)


async def owe(transaction: Transaction, *, subscription_id: uuid.UUID) -> Trigger:
    """Owe the next message to one subscription, ahead of those that a tick owes."""
    owed = await transaction.maybe(QUERIES.owe_send, _trigger, subscription_id=subscription_id)
    return owed or Trigger(found=False, accepted=False)


async def claim(
    transaction: Transaction,
    *,
    owner: uuid.UUID,
    limit: int,
    lease: timedelta,
    of_ticks: int | None = None,
    but: Iterable[str] = (),
    content_settle: timedelta = CONTENT_SETTLE,
    only: Sequence[uuid.UUID] | None = None,
) -> list[Send]:
    """Lease up to ``limit`` due sends to ``owner``, in no particular order.

    At most ``of_ticks`` of them are of a tick; None is no limit. None of them is for an identity in
    ``but``. With ``only``, all have an id in it. A subscription whose next number is beyond the end
    of its content completes if the content had not changed for ``content_settle`` when the send was
    owed.
    """
    places = await transaction.one(
        QUERIES.lock_due_places,
        _places,
        owner=owner,
        limit=limit,
        of_ticks=limit if of_ticks is None else of_ticks,
        but=list(but),
        only=None if only is None else list(only),
    )
    # A claim of no parts shows what is wrong with all of them.
    if places == NO_PLACES and only is None:
        return []
    claimed = await transaction.many(
        QUERIES.claim_due_sends,
        by_column,
        places=places,
        owner=owner,
        lease=lease,
        content_settle=content_settle,
    )
    versions = {row["version_id"] for row in claimed} - {None}
    contents: dict[int, MessageToSend] = {}
    if versions:
        found = await transaction.many(QUERIES.find_contents, content, ids=list(versions))
        contents = dict(found)
    made = []
    slices = transaction.slices()
    for row in claimed:
        made.append(claimed_send(owner, contents, **row))
        if slices.is_over:
            await slices.next_turn()
    return made


async def give_back_strays(
    transaction: Transaction, *, owner: uuid.UUID, known: Iterable[uuid.UUID]
) -> int:
    """Owe again the claims of ``owner`` that it does not know; returns how many there were."""
    return await transaction.execute(QUERIES.give_back_strays, owner=owner, known=list(known))


async def renew(
    transaction: Transaction, *, owner: uuid.UUID, ids: Iterable[uuid.UUID], lease: timedelta
) -> set[uuid.UUID]:
    """Renew the leases of these claims to ``lease`` from now; returns those still owned."""
    renewed = await transaction.many(
        QUERIES.renew_leases, uuid.UUID, owner=owner, ids=list(ids), lease=lease
    )
    return set(renewed)


@frozen(kw_only=True)
class SettledBatch:
    """The sends that were settled, and the doubles (send id, outbound id).

    ``locked`` were left unchanged: another transaction has locked their subscriptions. ``sent`` is
    how many messages were sent in this transaction of each set (its content type and short name),
    ``unaddressed`` how many people had no address, and ``chained`` how many subscriptions to a next
    set this has begun.
    """

    sends: set[uuid.UUID]
    doubles: list[tuple[uuid.UUID, str]]
    sent: Sequence[tuple[str, str, int]] = ()
    unaddressed: int = 0
    chained: int = 0
    locked: frozenset[uuid.UUID] = frozenset()


async def settle(
    transaction: Transaction,
    *,
    results: Iterable[tuple[SettledSend, SendResult]],
) -> SettledBatch:
    """Settle, give back, or mark as unknown a batch of claims.

    A result of a claim that was lost changes nothing, unless it has the id of an outbound: then it
    settles the send if that is live, or is kept as a double if the send was settled without it. A
    claim is lost if the send has another owner, or another attempt.
    """
    settled: list[tuple[SettledSend, Settled]] = []
    given_back, unknown = [], []
    for send, result in results:
        if isinstance(result, Settled):
            settled.append((send, result))
        elif isinstance(result, GivenBack):
            delay = {"seconds": result.delay.total_seconds(), "fault": result.is_fault}
            given_back.append(_outcome(send, result) | delay)
        elif isinstance(result, Unknown):
            unknown.append(_outcome(send, result) | {"fault": result.is_fault})
    taken: set[uuid.UUID] = set()
    if given_back:
        taken.update(
            await transaction.many(QUERIES.give_back_sends, uuid.UUID, given_back=Json(given_back))
        )
    if unknown:
        taken.update(await transaction.many(QUERIES.mark_unknown, uuid.UUID, unknown=Json(unknown)))
    if not settled:
        return SettledBatch(sends=taken, doubles=[])
    return await _end(transaction, settled, taken)


async def _end(
    transaction: Transaction, settled: Sequence[tuple[SettledSend, Settled]], taken: set[uuid.UUID]
) -> SettledBatch:
    """Settle these; ``taken`` are others of the batch that were given back, or marked."""
    batch = await transaction.one(
        QUERIES.settle_sends,
        _SettledRow,
        outcomes=Json([_settled_outcome(send, result) for send, result in settled]),
    )
    locked = frozenset(batch.locked)
    settled = [(send, result) for send, result in settled if send.id not in locked]
    taken |= {send.id for send, _ in settled}.difference(batch.unsettled)
    if batch.resent:
        outbounds = {uuid.UUID(send_id): one for send_id, one in batch.resent.items()}
        await resends.answer(transaction, outbounds=outbounds)
    doubles = await _keep_doubles(transaction, settled, taken)
    # A send that was not live and has no double was settled with this very outbound before.
    found = {send.id for send, result in settled if result.outbound_id}
    taken |= found - {send_id for send_id, _ in doubles}
    return SettledBatch(
        sends=taken,
        doubles=doubles,
        sent=[(content_type, name, count) for content_type, name, count in batch.sent or ()],
        unaddressed=batch.unaddressed,
        chained=batch.chained,
        locked=locked,
    )


async def _keep_doubles(
    transaction: Transaction,
    settled: Iterable[tuple[SettledSend, Settled]],
    taken: set[uuid.UUID],
) -> list[tuple[uuid.UUID, str]]:
    """Keep the outbounds that the ledger does not name; it names those that were just settled."""
    surplus = []
    for send, result in settled:
        late = (result.outbound_id,) if result.outbound_id and send.id not in taken else ()
        surplus += [
            {
                "send_id": str(send.id),
                "subscription_id": str(send.subscription_id),
                "outbound_id": storable(outbound_id),
            }
            for outbound_id in (*late, *result.doubles)
        ]
    if not surplus:
        return []
    return await transaction.many(QUERIES.keep_doubles, _double, outbounds=Json(surplus))


def _outcome(send: SettledSend, result: SendResult) -> dict[str, Any]:
    owner = str(send.owner) if isinstance(send, Send) else None
    return {
        "id": str(send.id),
        "attempt": send.attempt,
        "owner": owner,
        "reason": storable(result.reason),
    }


def _settled_outcome(send: SettledSend, result: Settled) -> dict[str, Any]:
    """What ``settle_sends`` reads; what is empty or false is left out, as it is mostly."""
    told = {
        "id": str(send.id),
        "attempt": send.attempt,
        "outcome": result.outcome,
        "stage": result.stage,
    }
    if isinstance(send, Send):
        told["owner"] = str(send.owner)
    if result.reason:
        told["reason"] = storable(result.reason)
    if result.outbound_id:
        told["outbound_id"] = storable(result.outbound_id)
    moves = {
        "delivered": result.is_delivered,
        "unaddressed": result.is_unaddressed,
        "at_end": result.is_at_end,
    }
    told |= {name: True for name, is_true in moves.items() if is_true}
    if result.is_assumed:
        told["assumed"] = True
    if any(moves.values()) and not (isinstance(send, Send) and send.kind == "resend"):
        told["subscription_id"] = str(send.subscription_id)
    return told


async def expire(transaction: Transaction, *, limit: int) -> int:
    """Mark as unknown up to ``limit`` claims whose lease has ended; returns how many."""
    return await transaction.execute(QUERIES.expire_leases, limit=limit)


async def take_unknown(
    transaction: Transaction,
    *,
    limit: int,
    settle: timedelta,
    lease: timedelta,
    only: Sequence[uuid.UUID] | None = None,
) -> list[UnknownSend]:
    """Lease up to ``limit`` sends of unknown outcome that are to be asked about now.

    With ``only``, all have an id in it.
    """
    return await transaction.many(
        QUERIES.take_unknown_sends,
        UnknownSend,
        limit=limit,
        settle=settle,
        lease=lease,
        only=None if only is None else list(only),
    )


async def owe_again(
    transaction: Transaction, *, absent: Iterable[tuple[UnknownSend, timedelta]], reason: str
) -> int:
    """Owe sends again that were surely not sent, each after a delay.

    Returns how many were still unknown, and are owed now. A send whose last call was a fault has
    one fault more.
    """
    return await transaction.one(
        QUERIES.owe_again,
        int,
        absent=Json([_question(one) | {"seconds": delay.total_seconds()} for one, delay in absent]),
        reason=reason,
    )


async def ask_again_later(
    transaction: Transaction,
    *,
    asked: Iterable[UnknownSend],
    settle: timedelta,
    longest: timedelta = ASKED_AGAIN,
) -> None:
    """Ask about these sends again later: nothing is proven yet.

    After the settle time, they are asked about again after ``longest`` at the latest.
    """
    await transaction.execute(
        QUERIES.ask_again_later, asked=_questions(asked), settle=settle, longest=longest
    )


def _questions(asked: Iterable[UnknownSend]) -> Json:
    return Json([_question(one) for one in asked])


def _question(asked: UnknownSend) -> dict[str, Any]:
    return {"id": str(asked.id), "attempt": asked.attempt, "token": asked.token.isoformat()}


@frozen(kw_only=True)
class _SettledRow:
    """What ``settle_sends`` returns; ``resent`` are the outbounds of resends."""

    unsettled: list[uuid.UUID]
    locked: list[uuid.UUID]
    resent: dict[str, str] | None
    sent: list[tuple[str, str, int]] | None
    unaddressed: int
    chained: int


def _trigger(*, send_id: uuid.UUID | None, reason: str | None) -> Trigger:
    return Trigger(found=True, accepted=send_id is not None, reason=reason or "")


def _places(*, places: str) -> str:
    return places


def _double(*, send_id: uuid.UUID, outbound_id: str) -> tuple[uuid.UUID, str]:
    return send_id, outbound_id
