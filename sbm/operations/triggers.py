"""Triggers: a client says "now" for a subscription or a schedule."""

from __future__ import annotations

from uuid import UUID

from sbm.model.scheduler_call import Scheduling
from sbm.model.send import Trigger
from sbm.model.simulation import SimulationRules, changed
from sbm.operations.refusals import NoSuchRow, SimulationUnknown, WorldHasChanged
from sbm.operations.simulating import simulate_tick
from sbm.store import resends, scheduler_calls, sends, simulations, ticks
from sbm.store.postgres.transaction import Transaction


async def send_next(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe the next message, or return why there is nothing to send; raises NoSuchRow."""
    return _found(await sends.owe(transaction, subscription_id=subscription_id))


async def resend_last(transaction: Transaction, *, subscription_id: UUID) -> Trigger:
    """Owe the last message once more; raises NoSuchRow."""
    return _found(await resends.owe(transaction, subscription_id=subscription_id))


async def open_tick(transaction: Transaction, *, schedule_id: int, opened_by: str) -> None:
    """Say "now" for all subscriptions on a schedule; raises NoSuchRow."""
    tick_id = await ticks.open_tick(transaction, schedule_id=schedule_id, opened_by=opened_by)
    if tick_id is None:
        raise NoSuchRow


async def open_simulated_tick(
    transaction: Transaction,
    *,
    schedule_id: int,
    opened_by: str,
    token: UUID,
    rules: SimulationRules,
) -> int:
    """Open a tick if it does what was simulated; returns its id.

    Raises NoSuchRow, SimulationUnknown, or WorldHasChanged if the results have changed by more than
    the simulation allows. The tick is judged after it was opened: so it is the very one that would
    be sent, and it is undone if it is refused.
    """
    kept = await simulations.find(transaction, token=token)
    tick_id = await ticks.open_tick(transaction, schedule_id=schedule_id, opened_by=opened_by)
    if tick_id is None:
        raise NoSuchRow
    if kept is None or kept.schedule_id != schedule_id:
        raise SimulationUnknown
    results = await simulate_tick(
        transaction, schedule_id=schedule_id, rules=rules, tick_id=tick_id
    )
    now = [[*result, tally.count] for result, tally in results.tallies.items()]
    differing = changed(kept.counts, now)
    allowed = kept.allowed_change * sum(count for *_, count in kept.counts) // 100
    if differing > allowed:
        raise WorldHasChanged(changed=differing, allowed=allowed, simulated=kept.counts, now=now)
    return tick_id


async def stop_calls_for_schedule(
    transaction: Transaction, *, schedule_id: int, mode: Scheduling
) -> bool:
    """Owe the Scheduler a call that stops it, if it should not call for a schedule in this mode.

    Returns whether it should not call: then nothing is sent.
    """
    if mode == "schedule":
        return False
    return await scheduler_calls.stop_calling_schedule(
        transaction, schedule_id=schedule_id, clock_ticks=mode == "builtin"
    )


def _found(trigger: Trigger) -> Trigger:
    if not trigger.found:
        raise NoSuchRow
    return trigger
