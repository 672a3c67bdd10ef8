"""What an operator asks first: which ticks are open."""

from __future__ import annotations

from sbm.model.open_tick import OpenTick
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("status")


async def list_open_ticks(transaction: Transaction) -> list[OpenTick]:
    """The ticks of schedules that have work left, oldest first."""
    return await transaction.many(QUERIES.list_open_ticks, OpenTick)
