"""The ledger's partitions."""

from __future__ import annotations

from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("ledger")


async def make_partitions(transaction: Transaction, *, months_ahead: int) -> int:
    """Make the partitions of this month and ``months_ahead`` more; returns how many were made."""
    return await transaction.one(QUERIES.make_ledger_partitions, int, months_ahead=months_ahead)


async def drop_partitions(transaction: Transaction, *, months_kept: int) -> int:
    """Drop the partitions older than ``months_kept`` months; returns how many were dropped."""
    return await transaction.one(QUERIES.drop_ledger_partitions, int, months_kept=months_kept)
