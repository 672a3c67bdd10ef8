"""Start a schedule by hand: the tick that was simulated, with limits of its own."""

from __future__ import annotations

from uuid import UUID

from sbm.model.hold import TickLimits
from sbm.model.signature import Signature
from sbm.model.simulation import SimulationRules
from sbm.operations.triggers import open_simulated_tick
from sbm.store import audit, watched_ticks
from sbm.store.postgres.transaction import Transaction


async def start_tick(
    transaction: Transaction,
    *,
    schedule_id: int,
    token: UUID,
    rules: SimulationRules,
    limits: TickLimits,
    signature: Signature,
) -> int:
    """Open a tick if it does what was simulated, with these limits; returns its id.

    Raises what ``open_simulated_tick`` raises. The limits of the schedule stay as they are.
    """
    tick_id = await open_simulated_tick(
        transaction, schedule_id=schedule_id, opened_by=signature.actor, token=token, rules=rules
    )
    await watched_ticks.limit(transaction, tick_id=tick_id, limits=limits)
    await audit.record(
        transaction,
        actor=signature.actor,
        action="start",
        reason=signature.reason,
        details={
            "schedule": schedule_id,
            "tick": tick_id,
            "canary": limits.canary,
            "brake_percent": limits.brake_percent,
            "brake_after": limits.brake_after,
        },
    )
    return tick_id
