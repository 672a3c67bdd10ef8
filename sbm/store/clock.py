"""The database's clock: its time, its jumps, and the moments that it wrote while it was wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("clock")

# Two daemons that have seen the same jump agree about its size, up to the time that they waited.
SAME_JUMP_SECONDS = 2.0


@frozen(kw_only=True)
class Distance:
    """The difference of the database's clock and a machine's uptime: an interval in seconds.

    ``uptime`` is when the last look at the clock ended.
    """

    lowest: float
    highest: float
    uptime: float

    @property
    def width(self) -> float:
        """The width of the interval: how uncertain the distance is."""
        return self.highest - self.lowest


@frozen(kw_only=True)
class ClockState:
    """The facts about the clock in the database.

    ``seconds`` is ``now`` in Unix time; all other times are durations in seconds. ``jump_id`` is
    the last jump that was recorded, 0 if there is none; it was seen ``seen_ago``, and the clock is
    in doubt for ``doubted_for`` from now on (negative: not any more). ``distance`` was stored for
    this machine when ``known_then`` was the last jump. ``recorded`` is by how much the clock was
    set since the jump that the reader knows, as others have recorded it. ``was_ahead`` and
    ``was_behind``: how far it was from the clock of now at most, by all jumps that were recorded.
    """

    now: datetime
    seconds: float
    jump_id: int
    seen_ago: float
    doubted_for: float
    distance: Distance | None
    known_then: int
    recorded: float = 0.0
    was_ahead: float = 0.0
    was_behind: float = 0.0


async def now(transaction: Transaction) -> datetime:
    """The database's now: the same for all statements of this transaction."""
    return await transaction.one(QUERIES.read_now, datetime)


async def read(
    transaction: Transaction, *, machine: str | None, known: int | None = None
) -> ClockState:
    """The time, the jumps since the one that is ``known``, and the distance of this machine.

    Without ``known``, it is the jump that was known when the distance of this machine was stored.
    """
    return await transaction.one(QUERIES.read_clock, _clock_state, machine=machine, known=known)


async def record_jump(
    transaction: Transaction,
    *,
    seconds: float,
    unsure: float = 0.0,
    known: int,
    within: float,
    doubted_for: float,
) -> int:
    """Record that the clock was set by so many seconds since the jump that is ``known``.

    The seconds may be wrong by ``unsure``: if others have recorded about the same, theirs are used.

    It happened in the last ``within`` seconds, and all daemons shall doubt the clock for
    ``doubted_for``. Jumps that others have recorded meanwhile are not recorded again. Returns the
    id of the last jump.
    """
    await transaction.execute(QUERIES.lock_clock)
    seen = await transaction.one(QUERIES.sum_jumps, _Recorded, known=known)
    if seen.jump_id is not None and abs(seconds - seen.recorded) <= SAME_JUMP_SECONDS + unsure:
        return seen.jump_id
    return await transaction.one(
        QUERIES.record_jump,
        int,
        seconds=seconds - seen.recorded,
        within=within,
        doubted_for=doubted_for,
    )


async def keep(transaction: Transaction, *, machine: str, distance: Distance, jump_id: int) -> None:
    """Store the distance for daemons of the same machine that start later."""
    await transaction.execute(
        QUERIES.keep_reading,
        machine=machine,
        uptime=distance.uptime,
        lowest=distance.lowest,
        highest=distance.highest,
        jump_id=jump_id,
    )


async def delete_old(transaction: Transaction) -> None:
    """Delete the distances of machines, and the jumps, that are old."""
    await transaction.execute(QUERIES.delete_old_readings)


async def repair(
    transaction: Transaction, *, most: timedelta, lease: timedelta, limit: int
) -> dict[str, int]:
    """Correct moments of a wrong clock, in rows that wait for a moment; returns how many.

    No row waits for longer than ``most``. A claim gets ``lease`` if its own lease is not known.
    """
    limits = {"most": most, "lease": lease}
    return {
        "sends": await transaction.execute(QUERIES.repair_sends, **limits, limit=limit),
        "calls to the Scheduler": await transaction.execute(
            QUERIES.repair_scheduler_calls, **limits, limit=limit
        ),
        "tasks": await transaction.execute(QUERIES.repair_tasks, **limits),
        "changes of content": await transaction.execute(QUERIES.repair_content_changes),
    }


@frozen(kw_only=True)
class _Recorded:
    jump_id: int | None
    recorded: float


def _clock_state(
    *,
    now: datetime,
    seconds: float,
    jump_id: int | None,
    seen_ago: float | None,
    doubted_for: float | None,
    uptime: float | None,
    lowest: float,
    highest: float,
    reading_jump_id: int | None,
    recorded: float,
    was_ahead: float,
    was_behind: float,
) -> ClockState:
    distance = None
    if uptime is not None:
        distance = Distance(lowest=lowest, highest=highest, uptime=uptime)
    return ClockState(
        now=now,
        seconds=seconds,
        jump_id=jump_id or 0,
        seen_ago=float("inf") if seen_ago is None else seen_ago,
        doubted_for=doubted_for or 0.0,
        distance=distance,
        known_then=reading_jump_id or 0,
        recorded=recorded,
        was_ahead=was_ahead,
        was_behind=was_behind,
    )
