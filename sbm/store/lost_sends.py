"""Sends of which the database may have lost what it knew, because it went back."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from attrs import evolve
from psycopg2.extras import Json

from sbm.model.outbound import OwnOutbound
from sbm.model.send import LiveSend, Send
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction

QUERIES = load("lost_sends")


async def doubt(
    transaction: Transaction, *, limit: int, only: Sequence[uuid.UUID] | None = None
) -> int:
    """Let the Message Sender be asked about sends that are owed or claimed, before they are sent.

    The database went back. Returns how many there were, at most ``limit``; with ``only``, all have
    an id in it.
    """
    return await transaction.execute(
        QUERIES.doubt_sends, limit=limit, only=None if only is None else list(only)
    )


async def count_owed_or_claimed(transaction: Transaction) -> int:
    """How many sends are owed or claimed."""
    return await transaction.one(QUERIES.count_owed_or_claimed, int)


async def find_lost(
    transaction: Transaction, *, outbounds: Iterable[OwnOutbound], since: datetime | None = None
) -> set[uuid.UUID]:
    """The ids of sends that have an outbound, and that the database does not know as posted.

    A send that is owed after an attempt counts only if its outbound was stored after ``since``:
    the Message Sender may have shown an outbound too late for the question about an earlier one.
    """
    return set(
        await transaction.many(
            QUERIES.find_lost_outbounds, uuid.UUID, outbounds=_told(outbounds), since=since
        )
    )


async def find_lost_claims(transaction: Transaction, *, claims: Iterable[Send]) -> list[uuid.UUID]:
    """The ids of those claims that the database does not know, neither as live nor as settled."""
    told = [
        {"send_id": str(one.id), "identity": storable(one.identity), "attempt": one.attempt}
        for one in claims
    ]
    return await transaction.many(QUERIES.find_lost_claims, uuid.UUID, claims=Json(told))


async def with_holders(
    transaction: Transaction, *, outbounds: Sequence[OwnOutbound]
) -> list[OwnOutbound]:
    """The same, each with the subscription that has to step because of it.

    If the subscription was lost, it is another one of the same person to the same set.
    """
    holders = dict(
        await transaction.many(QUERIES.find_holders, _holder, outbounds=_told(outbounds))
    )
    return [evolve(one, subscription_id=holders[one.send_id]) for one in outbounds]


async def place(
    transaction: Transaction, *, outbounds: Iterable[OwnOutbound], ids: Iterable[uuid.UUID]
) -> None:
    """Give the live sends with these ids the messages of their outbounds."""
    await transaction.execute(QUERIES.place_sends, outbounds=_told(outbounds), ids=list(ids))


async def remove(transaction: Transaction, *, ids: Iterable[uuid.UUID]) -> None:
    """Remove live sends, and their triggers: they are made again of their outbounds."""
    await transaction.execute(QUERIES.remove_sends, ids=list(ids))


async def restore(transaction: Transaction, *, outbounds: Sequence[OwnOutbound]) -> list[LiveSend]:
    """Make sends of unknown outcome of outbounds that the database does not know as sent.

    A live send of the same subscription prevents that; see ``find_in_the_way``.
    """
    tick_id = await transaction.one(QUERIES.open_minute, int)
    return await transaction.many(
        QUERIES.restore_sends, LiveSend, outbounds=_told(outbounds), tick_id=tick_id
    )


async def find_in_the_way(
    transaction: Transaction, *, outbounds: Iterable[OwnOutbound]
) -> list[LiveSend]:
    """Live sends of the same subscriptions and kinds as these outbounds, with other ids."""
    return await transaction.many(QUERIES.find_in_the_way, LiveSend, outbounds=_told(outbounds))


async def find_live(transaction: Transaction, *, ids: Iterable[uuid.UUID]) -> list[LiveSend]:
    """Those of these sends that are not settled."""
    return await transaction.many(QUERIES.find_live_sends, LiveSend, ids=list(ids))


def _holder(*, send_id: uuid.UUID, subscription_id: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    return send_id, subscription_id


def _told(outbounds: Iterable[OwnOutbound]) -> Json:
    return Json(
        [
            {
                "send_id": str(one.send_id),
                "kind": one.kind,
                "subscription_id": str(one.subscription_id),
                "identity": storable(one.identity),
                "messageset_id": one.messageset_id,
                "sequence_number": one.sequence_number,
                "lang": one.lang and storable(one.lang),
                "created_at": one.created_at.isoformat(),
            }
            for one in outbounds
        ]
    )
