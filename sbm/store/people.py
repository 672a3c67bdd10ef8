"""All that happened to one person, and what comes next."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from sbm.model.scheduler_call import Scheduling
from sbm.model.timeline import PLANNED, PersonEvent, PlannedSubscription
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("people")

# Before all events: none is later.
START = (datetime(9999, 12, 31, tzinfo=timezone.utc), "", "")


async def list_events(
    transaction: Transaction,
    *,
    identity: str,
    limit: int,
    most_bytes: int | None = None,
    after: tuple[datetime, str, str] = START,
) -> tuple[list[PersonEvent], int]:
    """The next events of a person after this key, newest first, and how many there are.

    No event follows after ``most_bytes`` bytes of details; the number is that without this limit,
    up to ``limit``.
    """
    at, source, ref = after
    rows = await transaction.many(
        QUERIES.list_person_events,
        _counted_event,
        identity=identity,
        limit=limit,
        from_at=at,
        from_source=source,
        from_ref=ref,
        most_bytes=most_bytes,
    )
    return [event for event, _ in rows], rows[0][1] if rows else 0


def _counted_event(*, found: int, **columns: Any) -> tuple[PersonEvent, int]:
    return PersonEvent(**columns), found


async def list_planned(
    transaction: Transaction, *, identity: str, mode: Scheduling
) -> list[PlannedSubscription]:
    """The subscriptions of a person that are not completed, oldest first."""
    return await transaction.many(
        QUERIES.list_person_plans, PlannedSubscription, identity=identity, mode=mode, limit=PLANNED
    )


async def find_of_subscription(transaction: Transaction, *, subscription_id: UUID) -> str | None:
    """The identity of a subscription, also if it was deleted; None: there was none."""
    return await transaction.maybe(
        QUERIES.find_person_of_subscription, str, subscription_id=subscription_id
    )
