"""The daemons that live."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from sbm.model.living_daemon import LivingDaemon
from sbm.model.role import Role
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("daemons")


async def record(
    transaction: Transaction,
    *,
    id: UUID,  # noqa: A002
    role: Role,
    version: str,
    commit: str,
    host: str,
    pid: int,
    since: datetime,
    pause: str,
    services: Mapping[str, Any],
) -> None:
    """A daemon lives; see ``model.living_daemon.LivingDaemon``."""
    await transaction.execute(
        QUERIES.record_daemon,
        id=id,
        role=role,
        version=version,
        commit=commit,
        host=host,
        pid=pid,
        since=since,
        pause=pause,
        services=Json(dict(services)),
    )


async def forget(transaction: Transaction, *, id: UUID) -> None:  # noqa: A002
    """A daemon stops."""
    await transaction.execute(QUERIES.forget_daemon, id=id)


async def forget_dead(transaction: Transaction) -> None:
    """Delete what is left of daemons that were killed a day ago or earlier."""
    await transaction.execute(QUERIES.forget_dead_daemons)
    await transaction.execute(QUERIES.forget_their_pauses)


async def list_all(transaction: Transaction) -> list[LivingDaemon]:
    """All daemons, those that have lived longest first."""
    return await transaction.many(QUERIES.list_daemons, LivingDaemon)
