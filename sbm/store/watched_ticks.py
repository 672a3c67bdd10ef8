"""Ticks with a brake or a canary: whether they are held back until a person releases them."""

from __future__ import annotations

from sbm.model.hold import HeldTick, HoldReason, TickLimits, WatchedTick
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("watched_ticks")


async def list_held(transaction: Transaction) -> list[HeldTick]:
    """The ticks that are held back, oldest first."""
    return await transaction.many(QUERIES.list_held_ticks, HeldTick)


async def find(transaction: Transaction, *, tick_id: int) -> WatchedTick | None:
    """The brake and the canary of a tick, if it has any, or was stopped."""
    return await transaction.maybe(QUERIES.find_watched_tick, WatchedTick, tick_id=tick_id)


async def limit(transaction: Transaction, *, tick_id: int, limits: TickLimits) -> None:
    """Give a tick that was opened just now these limits, whatever its schedule has."""
    if limits == TickLimits():
        await transaction.execute(QUERIES.leave_unwatched, tick_id=tick_id)
        return
    await transaction.execute(
        QUERIES.watch_otherwise,
        tick_id=tick_id,
        canary=limits.canary,
        brake_percent=limits.brake_percent,
        brake_after=limits.brake_after,
    )


async def release(
    transaction: Transaction, *, tick_id: int, released_by: str
) -> tuple[bool, HoldReason | None]:
    """Let a tick go on: whether it has a brake or a canary, and why it was held back, if it was."""
    found = await transaction.many(
        QUERIES.release_tick, _hold, tick_id=tick_id, released_by=released_by
    )
    return bool(found), found[0] if found else None


async def forget_old(transaction: Transaction) -> int:
    """Forget the ticks that are over; returns how many."""
    return await transaction.execute(QUERIES.forget_watched_ticks)


def _hold(*, hold: HoldReason | None) -> HoldReason | None:
    return hold
