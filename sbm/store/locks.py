"""How long a transaction waits for rows that others have locked."""

from __future__ import annotations

from datetime import timedelta

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("locks")


async def wait_at_most(transaction: Transaction, *, wait: timedelta) -> None:
    """Let statements raise RowLocked if they cannot get a lock within this time."""
    milliseconds = max(1, round(wait.total_seconds() * 1000))
    await transaction.execute(QUERIES.wait_at_most, milliseconds=milliseconds)
