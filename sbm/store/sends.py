"""Sends: owed, claimed under a lease, settled."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.send import (
    CONTENT_SETTLE,
    Asked,
    GivenBack,
    Lack,
    MessageToSend,
    Recipient,
    Send,
    SendResult,
    Settled,
    Trigger,
    Unknown,
    Unread,
)
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable

QUERIES = load("sends")

# What cannot be decided is asked about ever more rarely, but at least so often.
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
    """Lease up to ``limit`` due sends to ``owner``; in no particular order.

    At most ``of_ticks`` of them are those of a tick; without it, that may be all. None of them is
    for an identity in ``but``, and with ``only``, all are among those. A subscription beyond the
    end of its content is at the end once that has been at rest for ``content_settle`` when the send
    is owed.
    """
    return await transaction.many(
        QUERIES.claim_due_sends,
        _send,
        owner=owner,
        limit=limit,
        of_ticks=limit if of_ticks is None else of_ticks,
        lease=lease,
        but=list(but),
        content_settle=content_settle,
        only=None if only is None else list(only),
    )


async def give_back_strays(
    transaction: Transaction, *, owner: uuid.UUID, known: Iterable[uuid.UUID]
) -> int:
    """Owe again the claims of ``owner`` that it does not know of; returns how many there were."""
    return await transaction.execute(QUERIES.give_back_strays, owner=owner, known=list(known))


async def renew(
    transaction: Transaction, *, owner: uuid.UUID, ids: Iterable[uuid.UUID], lease: timedelta
) -> set[uuid.UUID]:
    """Lengthen the leases of these claims to ``lease`` from now; returns those still owned."""
    renewed = await transaction.many(
        QUERIES.renew_leases, uuid.UUID, owner=owner, ids=list(ids), lease=lease
    )
    return set(renewed)


@frozen(kw_only=True)
class Committed:
    """Whose results were taken, and outbounds (send id, outbound id) that should not be.

    ``locked`` are left as they are: somebody else has their subscription locked.
    ``messagesets`` are the content types and short names of the sets whose messages were settled
    here and now, by send; ``chained`` says how many subscriptions to a next set that has begun.
    """

    sends: set[uuid.UUID]
    doubles: list[tuple[uuid.UUID, str]]
    messagesets: Mapping[uuid.UUID, tuple[str, str]]
    chained: int
    locked: frozenset[uuid.UUID] = frozenset()


async def settle(
    transaction: Transaction, *, results: Iterable[tuple[Send | Asked | Unread, SendResult]]
) -> Committed:
    """Settle, give back, or mark as unknown a batch of claims.

    Those that are no longer claimed with that attempt move nothing, unless the result has the id of
    an outbound: that settles the send if it is live, and is kept as a double if the send was
    settled without it.
    """
    settled: list[tuple[Send | Asked | Unread, Settled]] = []
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
    doubles: list[tuple[uuid.UUID, str]] = []
    messagesets: dict[uuid.UUID, tuple[str, str]] = {}
    chained, locked = 0, frozenset[uuid.UUID]()
    if settled:
        rows = await transaction.many(
            QUERIES.settle_sends,
            _SettledRow,
            outcomes=Json(
                [
                    _outcome(send, result)
                    | {
                        "outcome": result.outcome,
                        "stage": result.stage,
                        "outbound_id": result.outbound_id and storable(result.outbound_id),
                        "delivered": result.is_delivered,
                        "unaddressed": result.is_unaddressed,
                        "assumed": result.is_assumed,
                        "at_end": result.is_at_end,
                    }
                    for send, result in settled
                ]
            ),
        )
        locked = frozenset(row.id for row in rows if row.is_locked)
        settled = [(send, result) for send, result in settled if send.id not in locked]
        taken |= {row.id for row in rows} - locked
        messagesets = {
            row.id: (row.content_type, row.short_name)
            for row in rows
            if row.content_type is not None and row.short_name is not None
        }
        chained = max((row.chained for row in rows), default=0)
        doubles = await _keep_doubles(transaction, settled, taken)
        # What was not live and is no double was settled with this very outbound before.
        found = {send.id for send, result in settled if result.outbound_id}
        taken |= found - {send_id for send_id, _ in doubles}
    return Committed(
        sends=taken, doubles=doubles, messagesets=messagesets, chained=chained, locked=locked
    )


async def _keep_doubles(
    transaction: Transaction,
    settled: Iterable[tuple[Send | Asked | Unread, Settled]],
    taken: set[uuid.UUID],
) -> list[tuple[uuid.UUID, str]]:
    """Keep the outbounds that the ledger does not name; those of what was just taken it does."""
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


def _outcome(send: Send | Asked | Unread, result: SendResult) -> dict[str, Any]:
    return {"id": str(send.id), "attempt": send.attempt, "reason": storable(result.reason)}


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
) -> list[Asked]:
    """Lease up to ``limit`` sends of unknown outcome whose turn it is to be asked about.

    With ``only``, all are among those.
    """
    return await transaction.many(
        QUERIES.take_unknown_sends,
        Asked,
        limit=limit,
        settle=settle,
        lease=lease,
        only=None if only is None else list(only),
    )


async def owe_again(
    transaction: Transaction, *, absent: Iterable[tuple[Asked, timedelta]], reason: str
) -> int:
    """Owe sends again that were surely not sent, each after a delay.

    Returns of how many the question still holds. Those whose absence counts against them have one
    fault more.
    """
    return await transaction.execute(
        QUERIES.owe_again,
        absent=Json([_question(one) | {"seconds": delay.total_seconds()} for one, delay in absent]),
        reason=reason,
    )


async def ask_again_later(
    transaction: Transaction,
    *,
    asked: Iterable[Asked],
    settle: timedelta,
    longest: timedelta = ASKED_AGAIN,
) -> None:
    """Nothing is proven about these yet.

    When the settle time is over, they are asked about again after ``longest`` at the latest.
    """
    await transaction.execute(
        QUERIES.ask_again_later, asked=_questions(asked), settle=settle, longest=longest
    )


def _questions(asked: Iterable[Asked]) -> Json:
    return Json([_question(one) for one in asked])


def _question(asked: Asked) -> dict[str, Any]:
    return {"id": str(asked.id), "attempt": asked.attempt, "token": asked.token.isoformat()}


@frozen(kw_only=True)
class _SettledRow:
    """One send of ``settle_sends``; ``chained`` is of all of them."""

    id: uuid.UUID
    content_type: str | None
    short_name: str | None
    chained: int
    is_locked: bool


def _trigger(*, send_id: uuid.UUID | None, reason: str | None) -> Trigger:
    return Trigger(found=True, accepted=send_id is not None, reason=reason or "")


def _double(*, send_id: uuid.UUID, outbound_id: str) -> tuple[uuid.UUID, str]:
    return send_id, outbound_id


def _send(
    *,
    subscribed: bool,
    active: bool,
    completed: bool,
    process_status: int,
    lang: str,
    messageset_id: int,
    short_name: str,
    content_type: Literal["text", "audio"],
    channel: str | None,
    lack: Lack | None,
    sequence_number: int | None,
    text_content: str | None,
    file_name: str | None,
    metadata: Any,
    claimed_number: int | None,
    answers: list[str],
    **columns: Any,
) -> Send:
    message = recipient = None
    if sequence_number is not None:
        message = MessageToSend(
            sequence_number=sequence_number,
            text_content=text_content,
            file_name=file_name,
            metadata=metadata,
        )
    if subscribed:
        recipient = Recipient(
            active=active,
            completed=completed,
            process_status=process_status,
            lang=lang,
            messageset_id=messageset_id,
            messageset=short_name,
            content_type=content_type,
            channel=channel,
            message=message,
            lack=lack,
        )
    return Send(
        recipient=recipient,
        answers=tuple(answers),
        sequence_number=claimed_number,
        **columns,
    )
