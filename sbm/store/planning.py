"""How the planner plans the rest of a transaction."""

from __future__ import annotations

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("planning")


async def read_in_order(transaction: Transaction) -> None:
    """From now on, rows are read in the order of an index, if there is one, and not sorted."""
    await transaction.execute(QUERIES.read_in_order)
