"""Pause sends, and resume them: of the programme, a message set, a schedule or a lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sbm.model.send_pause import OnTicks, PauseScope, SendPause
from sbm.model.signature import Signature
from sbm.operations.refusals import NoSuchRow, WrongValues
from sbm.store import send_pauses
from sbm.store.postgres.transaction import Transaction


async def pause_sends(
    transaction: Transaction,
    *,
    scope: PauseScope,
    on_ticks: OnTicks,
    until: datetime | None,
    signature: Signature,
) -> int:
    """Begin a pause, which is in force some moments later; returns its id.

    What it concerns exists. Raises WrongValues if the pause would have ended already.
    """
    if until is not None and until <= transaction.local_time:
        raise WrongValues({"until": ["This moment is not in the future."]})
    return await send_pauses.begin(
        transaction,
        scope=scope,
        on_ticks=on_ticks,
        reason=signature.reason,
        paused_by=signature.actor,
        until=until,
    )


async def resume_sends(
    transaction: Transaction, *, pauses: Sequence[SendPause], signature: Signature
) -> list[SendPause]:
    """End these pauses; returns those that had not ended."""
    ended = await send_pauses.end(
        transaction, ids=[one.id for one in pauses], ended_by=signature.actor
    )
    return [one for one in pauses if one.id in ended]


async def resume_one(transaction: Transaction, *, pause_id: int, signature: Signature) -> SendPause:
    """End one pause, if it has not ended, and return it as it is then; raises NoSuchRow."""
    found = await send_pauses.find(transaction, pause_id=pause_id)
    if found is None:
        raise NoSuchRow
    await resume_sends(transaction, pauses=[found], signature=signature)
    ended = await send_pauses.find(transaction, pause_id=pause_id)
    return ended or found
