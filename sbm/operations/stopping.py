"""Stop a tick for good: what is left of it is skipped, and nobody gets it later."""

from __future__ import annotations

from sbm.model.signature import Signature
from sbm.model.tick import Tick
from sbm.operations.refusals import NoSuchRow, OperationRefused
from sbm.store import audit, ticks
from sbm.store.postgres.transaction import Transaction


class NothingToStop(OperationRefused):
    """The tick has nothing left that could be skipped, or was stopped before."""

    def __init__(self, tick: Tick) -> None:
        super().__init__(
            f"Tick {tick.id} was stopped by {tick.stopped_by}."
            if tick.stopped_by is not None
            else f"Nothing of tick {tick.id} is left."
        )


async def stop_tick(transaction: Transaction, *, tick_id: int, signature: Signature) -> Tick:
    """Stop a tick for good; returns it as it was. Raises NoSuchRow or NothingToStop.

    From the commit on, nothing of it is claimed. A daemon soon skips what is owed and who was not
    expanded yet, and the ledger says who stopped it. What daemons have in hand goes on; if it is
    given back, it is skipped, too. The next tick of the schedule finds those people free.
    """
    tick = await ticks.find(transaction, tick_id=tick_id)
    if tick is None or tick.source == "single":
        raise NoSuchRow
    if not tick.is_open or not await ticks.stop(
        transaction, tick_id=tick_id, stopped_by=signature.actor
    ):
        raise NothingToStop(tick)
    await audit.record(
        transaction,
        actor=signature.actor,
        action="stop",
        reason=signature.reason,
        details={"tick": tick_id, "triggers": tick.triggers, "live": tick.live},
    )
    return tick
