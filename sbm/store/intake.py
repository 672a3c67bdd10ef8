"""The intake account: what became of each authenticated request for a subscription.

The statement that makes a subscription writes the row of its request: ``subscriptions.create``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.intake import IntakeCount, IntakeDay, IntakeEntry, IntakeOutcome, Period
from sbm.model.paging import Page, PageRequest
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("intake")

# So many groups are counted at most, the largest ones.
MOST_COUNTS = 1000


async def record(
    transaction: Transaction,
    *,
    outcome: IntakeOutcome,
    reason: str = "",
    fields: Sequence[str] = (),
    caller: str,
    user_id: int | None,
    action: str,
    request_id: str | None,
    idempotency_key: str | None,
    identity: str | None = None,
    subscription_id: UUID | None = None,
    payload: Any = None,
) -> int:
    """Record a request that has made no subscription; returns the id of the entry."""
    return await transaction.one(
        QUERIES.insert_entry,
        _id,
        outcome=outcome,
        reason=reason,
        fields=list(fields),
        caller=caller,
        user_id=user_id,
        action=action,
        request_id=request_id,
        idempotency_key=idempotency_key,
        identity=identity,
        subscription_id=subscription_id,
        payload=None if payload is None else Json(payload),
    )


def _id(*, id: int) -> int:  # noqa: A002  # the column's name
    return id


@frozen(kw_only=True)
class IntakeFilter:
    """Filters of the list; None is no filter."""

    period: Period
    outcome: IntakeOutcome | None = None
    reason: str | None = None
    caller: str | None = None
    identity: str | None = None
    request_id: str | None = None

    @property
    def is_served(self) -> bool:
        """Whether an index finds the rows: a caller has too many that made a subscription."""
        others = (self.identity, self.request_id, self.reason)
        return self.caller is None or any(others) or self.outcome not in (None, "created")


async def list_page(
    transaction: Transaction, *, page: PageRequest, wanted: IntakeFilter
) -> Page[IntakeEntry]:
    """A page of the entries that match the filters, newest first."""
    return await read_page(
        transaction,
        QUERIES.list_entries,
        IntakeEntry,
        page,
        received_after=wanted.period.after,
        received_before=wanted.period.before,
        outcome=wanted.outcome,
        reason=wanted.reason,
        caller=wanted.caller,
        identity=wanted.identity,
        request_id=wanted.request_id,
    )


async def find(transaction: Transaction, *, entry_id: int) -> IntakeEntry | None:
    """The entry with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_entry, IntakeEntry, id=entry_id)


async def count(
    transaction: Transaction, *, period: Period, caller: str | None = None
) -> list[IntakeCount]:
    """How many requests of each caller ended how, the largest numbers first."""
    return await transaction.many(
        QUERIES.count_entries,
        IntakeCount,
        received_after=period.after,
        received_before=period.before,
        caller=caller,
        limit=MOST_COUNTS,
    )


async def count_by_day(
    transaction: Transaction, *, period: Period, zone: ZoneInfo
) -> list[IntakeDay]:
    """How many requests of each day of ``zone`` ended how, oldest first; not of empty days."""
    return await transaction.many(
        QUERIES.count_entries_by_day,
        IntakeDay,
        received_after=period.after,
        received_before=period.before,
        zone=zone.key,
    )
