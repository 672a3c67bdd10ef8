"""The audit: what operators changed by command, who did it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("audit")


async def record(
    transaction: Transaction, *, actor: str, command: str, reason: str, details: Mapping[str, Any]
) -> None:
    """Record one change, in the transaction that makes it; ``details`` is JSON."""
    await transaction.execute(
        QUERIES.insert_entry,
        actor=actor,
        command=command,
        reason=reason,
        details=Json(dict(details)),
    )
