"""What the Message Sender says about outbounds after they were sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from psycopg2.extras import Json

from sbm.model.delivery import (
    DeliveryCount,
    DeliveryLook,
    DeliveryPlace,
    ReadUntil,
    UndeliveredPerson,
)
from sbm.model.outbound import OwnOutbound
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction

QUERIES = load("deliveries")

# The ledger has an outbound as soon as it is settled: by a clock that may be so much behind.
CLOCK_SPARE = timedelta(days=1)


async def take_place(
    transaction: Transaction,
    *,
    look: DeliveryLook,
    owner: uuid.UUID,
    after: timedelta,
    lease: timedelta,
) -> DeliveryPlace | None:
    """Take a look at outbounds that are older than ``after``, under a lease.

    None: another daemon does, or all were looked at a short while ago.
    """
    return await transaction.maybe(
        QUERIES.take_delivery_place,
        DeliveryPlace,
        look=look,
        owner=owner,
        after=after,
        lease=lease,
    )


async def note(
    transaction: Transaction,
    *,
    look: DeliveryLook,
    owner: uuid.UUID,
    lease: timedelta,
    until: datetime,
    outbounds: Iterable[OwnOutbound],
    is_final: bool,
) -> int | None:
    """Note what these outbounds say, and that all until then were looked at.

    Returns how many of them the ledger has. None: the lease was lost, and nothing was noted.
    """
    held = await transaction.maybe(
        QUERIES.hold_delivery_place, datetime, look=look, owner=owner, lease=lease, place=until
    )
    if held is None:
        return None
    told = list(outbounds)
    if not told:
        return 0
    return await transaction.one(
        QUERIES.note_deliveries,
        int,
        outbounds=Json(
            [
                {
                    "outbound_id": storable(one.id),
                    "send_id": str(one.send_id),
                    "identity": storable(one.identity),
                    "delivered": one.is_delivered,
                    "attempts": one.attempts,
                    "nack_reason": one.nack_reason and storable(one.nack_reason),
                }
                for one in told
            ]
        ),
        since=min(one.created_at for one in told) - CLOCK_SPARE,
        is_final=is_final,
    )


async def leave_place(
    transaction: Transaction, *, look: DeliveryLook, owner: uuid.UUID, rest: timedelta
) -> None:
    """All were looked at: nobody looks again before so much time has passed."""
    await transaction.execute(QUERIES.leave_delivery_place, look=look, owner=owner, rest=rest)


async def list_counts(
    transaction: Transaction,
    *,
    page: PageRequest,
    messageset_id: int | None = None,
    lang: str | None = None,
    day_after: date | None = None,
    day_before: date | None = None,
) -> Page[DeliveryCount]:
    """A page of the counts by day, set and language, the newest days first."""
    return await read_page(
        transaction,
        QUERIES.list_delivery_counts,
        DeliveryCount,
        page,
        messageset_id=messageset_id,
        lang=lang,
        day_after=day_after,
        day_before=day_before,
    )


async def list_people(
    transaction: Transaction,
    *,
    page: PageRequest,
    in_row: int | None = None,
    identity: str | None = None,
) -> Page[UndeliveredPerson]:
    """A page of the people with at least so many undelivered messages in a row."""
    return await read_page(
        transaction,
        QUERIES.list_undelivered_people,
        UndeliveredPerson,
        page,
        in_row=in_row,
        identity=identity,
    )


async def list_places(transaction: Transaction) -> list[ReadUntil]:
    """How far the outbounds were looked at."""
    return await transaction.many(QUERIES.list_delivery_places, ReadUntil)
