"""Pauses: while one has not ended, the daemons that it concerns do no work by themselves."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from attrs import frozen

from sbm.model.pause import Pause
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("pauses")


@frozen(kw_only=True)
class AcceptedEvidence:
    """What does not show any more that the database went back, because an operator resumed.

    It is all outbounds up to ``outbounds_until``, and the installation ids in ``formerly``.
    """

    outbounds_until: datetime | None
    formerly: list[UUID]


async def list_concerning(transaction: Transaction, *, daemon: UUID) -> list[Pause]:
    """The pauses that concern a daemon, oldest first."""
    return await transaction.many(QUERIES.list_pauses, Pause, daemon=daemon)


async def list_all(transaction: Transaction) -> list[Pause]:
    """The pauses of all daemons that live, and of all together, oldest first."""
    return await transaction.many(QUERIES.list_all_pauses, Pause)


async def hold_by_setting(transaction: Transaction, *, daemon: UUID, reason: str) -> bool:
    """Pause a daemon because of its setting, unless that was ended; returns whether it was.

    If the row is gone, because the database was restored meanwhile, it is made again.
    """
    is_resumed = await transaction.maybe(QUERIES.is_setting_resumed, bool, daemon=daemon)
    if is_resumed is None:
        await transaction.execute(QUERIES.pause_by_setting, daemon=daemon, reason=reason)
    return bool(is_resumed)


async def forget_setting(transaction: Transaction, *, daemon: UUID) -> None:
    """Delete the pause of a daemon's setting: the daemon stops."""
    await transaction.execute(QUERIES.forget_setting, daemon=daemon)


async def pause_restored(
    transaction: Transaction,
    *,
    reason: str,
    outbounds_until: datetime | None = None,
    formerly: UUID | None = None,
) -> None:
    """Pause all daemons because the database went back; adds the evidence to such a pause."""
    await transaction.execute(
        QUERIES.pause_restored,
        reason=reason,
        outbounds_until=outbounds_until,
        formerly=[] if formerly is None else [formerly],
    )


async def mark_repaired(transaction: Transaction) -> None:
    """Record that `sbm restored` was run to its end."""
    await transaction.execute(QUERIES.mark_repaired)


async def is_repair_missing(transaction: Transaction) -> bool:
    """Whether the database went back and was not repaired since that was found."""
    return await transaction.one(QUERIES.is_repair_missing, bool)


async def read_accepted(transaction: Transaction) -> AcceptedEvidence:
    """The evidence that operators have accepted."""
    return await transaction.one(QUERIES.read_accepted, AcceptedEvidence)


async def end_all(transaction: Transaction) -> list[Pause]:
    """End all pauses; returns them."""
    return await transaction.many(QUERIES.end_pauses, Pause)
