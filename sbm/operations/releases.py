"""Release a tick that its brake or its canary holds back."""

from __future__ import annotations

from sbm.model.hold import HoldReason
from sbm.model.signature import Signature
from sbm.operations.refusals import NoSuchRow
from sbm.store import audit, ticks, watched_ticks
from sbm.store.postgres.transaction import Transaction


async def release_tick(
    transaction: Transaction, *, tick_id: int, signature: Signature
) -> HoldReason | None:
    """Let a tick go on; returns why it was held back, None if it was not. Raises NoSuchRow.

    Its canary is over, and its brake counts from now on. A tick that is not held back yet will not
    wait after its canary.
    """
    is_watched, hold = await watched_ticks.release(
        transaction, tick_id=tick_id, released_by=signature.actor
    )
    if not is_watched and await ticks.find(transaction, tick_id=tick_id) is None:
        raise NoSuchRow
    if is_watched:
        await audit.record(
            transaction,
            actor=signature.actor,
            action="release",
            reason=signature.reason,
            details={"tick": tick_id, "hold": hold},
        )
    return hold
