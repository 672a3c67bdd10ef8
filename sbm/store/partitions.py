"""The partitions of the ledger, its deliveries, the audit and intake, one for each month."""

from __future__ import annotations

from typing import Literal

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("partitions")

Partitioned = Literal["ledger", "audit", "deliveries", "intake"]


async def make(transaction: Transaction, *, parent: Partitioned, months_ahead: int) -> int:
    """Make the partitions of this month and ``months_ahead`` more; returns how many were made."""
    return await transaction.one(
        QUERIES.make_partitions, int, parent=parent, months_ahead=months_ahead
    )


async def drop(transaction: Transaction, *, parent: Partitioned, months_kept: int) -> int:
    """Drop the partitions older than ``months_kept`` months; returns how many were dropped."""
    return await transaction.one(
        QUERIES.drop_partitions, int, parent=parent, months_kept=months_kept
    )
