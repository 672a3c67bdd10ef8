"""Calls of the Seed Scheduler that may be repeated, and the answers of the first time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sbm.model.scheduler_callback import AHEAD, Crons, RecordedCall, Target
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("scheduler_callbacks")


async def lock_target(transaction: Transaction, *, target: Target) -> None:
    """Wait for another call for this target, and lock the target until the transaction ends."""
    await transaction.execute(QUERIES.lock_target, kind=target.kind, target=str(target.id))


async def read_crons(transaction: Transaction, *, target: Target) -> Crons:
    """The crons of a target, and the time."""
    return await transaction.one(
        QUERIES.read_crons,
        Crons,
        kind=target.kind,
        target=str(target.id),
        schedule_id=target.id if target.kind == "schedule" else None,
        subscription_id=target.id if target.kind == "subscription" else None,
    )


async def list_recent(
    transaction: Transaction, *, target: Target, kept: timedelta
) -> list[RecordedCall]:
    """The calls for this target that came in the time ``kept`` before now."""
    return await transaction.many(
        QUERIES.list_recent,
        _recorded,
        kind=target.kind,
        target=str(target.id),
        kept=kept,
        ahead=AHEAD,
        local_time=transaction.local_time,
    )


async def record(
    transaction: Transaction, *, target: Target, moment: datetime, status: int, body: bytes
) -> None:
    """Record a call that was done, for a target that is locked."""
    await transaction.execute(
        QUERIES.record,
        kind=target.kind,
        target=str(target.id),
        moment=moment,
        status=status,
        body=body,
        received_at=transaction.local_time,
    )


async def delete_old(transaction: Transaction, *, kept: timedelta, limit: int) -> int:
    """Delete up to ``limit`` calls that came longer than ``kept`` ago; returns how many."""
    return await transaction.execute(
        QUERIES.delete_old, kept=kept, ahead=AHEAD, local_time=transaction.local_time, limit=limit
    )


async def delete_future(transaction: Transaction, *, kept: timedelta, limit: int) -> int:
    """Delete up to ``limit`` calls that were recorded as later than now; returns how many."""
    return await transaction.execute(
        QUERIES.delete_future,
        kept=kept,
        ahead=AHEAD,
        local_time=transaction.local_time,
        limit=limit,
    )


def _recorded(*, body: memoryview, **columns: Any) -> RecordedCall:
    return RecordedCall(body=bytes(body), **columns)
