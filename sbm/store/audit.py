"""The audit: what operators did by command, who, and why."""

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
    """Put down one deed, in the transaction that it is done in; ``details`` is JSON."""
    await transaction.execute(
        QUERIES.insert_entry,
        actor=actor,
        command=command,
        reason=reason,
        details=Json(dict(details)),
    )
