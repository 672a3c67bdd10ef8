"""Pauses of sends that a person began: two commits lead to one that is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.paging import Page, PageRequest
from sbm.model.send_pause import OnTicks, PauseScope, PauseState, SendPause
from sbm.store import locks
from sbm.store.paging import read_page
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("send_pauses")

# How long to wait for the claims that are under way. They take some milliseconds.
PATIENCE = timedelta(seconds=2)


@frozen(kw_only=True)
class SendsOfScope:
    """How many sends of a scope are owed, and how many daemons have in hand."""

    owed: int
    in_hand: int


async def begin(
    transaction: Transaction,
    *,
    scope: PauseScope,
    on_ticks: OnTicks,
    reason: str,
    paused_by: str,
    until: datetime | None,
) -> int:
    """Begin a pause: after the commit, nothing of it is claimed any more; returns its id.

    Raises RowLocked if a claim does not end.
    """
    await locks.wait_at_most(transaction, wait=PATIENCE)
    await transaction.execute(QUERIES.begin_pausing)
    return await transaction.one(
        QUERIES.insert_send_pause,
        int,
        lane=scope.lane,
        schedule_id=scope.schedule_id,
        messageset_id=scope.messageset_id,
        on_ticks=on_ticks,
        reason=reason,
        paused_by=paused_by,
        until=until,
    )


async def find(transaction: Transaction, *, pause_id: int) -> SendPause | None:
    """The pause with this id, if there is one."""
    return await transaction.maybe(QUERIES.find_send_pause, SendPause, id=pause_id)


async def list_page(
    transaction: Transaction, *, page: PageRequest, state: PauseState | None = None
) -> Page[SendPause]:
    """A page of the pauses, newest first; with ``state``, those in it."""
    return await read_page(
        transaction,
        QUERIES.list_send_pauses,
        SendPause,
        page,
        is_ended=None if state is None else state == "ended",
        is_paused=None if state in (None, "ended") else state == "paused",
    )


async def list_open(transaction: Transaction) -> list[SendPause]:
    """All pauses that have not ended, oldest first."""
    return await transaction.many(QUERIES.list_open_send_pauses, SendPause)


async def finish(transaction: Transaction, *, seen_for: Mapping[int, timedelta]) -> list[int]:
    """Put in force those of these pauses of which no daemon has a send in hand; returns their ids.

    ``seen_for`` says how long the caller has known each, by a clock that only goes forward.
    """
    seen = [{"id": one, "seconds": time.total_seconds()} for one, time in seen_for.items()]
    return await transaction.many(QUERIES.finish_pausing, int, seen=Json(seen))


async def end(transaction: Transaction, *, ids: Iterable[int], ended_by: str) -> list[int]:
    """End these pauses; returns the ids of those that had not ended."""
    return await transaction.many(QUERIES.end_send_pauses, int, ids=list(ids), ended_by=ended_by)


async def end_due(transaction: Transaction) -> list[int]:
    """End the pauses that end by themselves, if it is time; returns their ids."""
    return await transaction.many(QUERIES.end_due_send_pauses, int)


async def count_of(transaction: Transaction, *, scope: PauseScope) -> SendsOfScope:
    """The live sends that a pause of this scope would concern; it is of no single tick."""
    return await transaction.one(
        QUERIES.count_sends_of_scope,
        SendsOfScope,
        lane=scope.lane,
        schedule_id=scope.schedule_id,
        messageset_id=scope.messageset_id,
    )
