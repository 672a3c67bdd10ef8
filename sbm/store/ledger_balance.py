"""The law: both sides are counted, and what was found is remembered with the tick."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from attrs import frozen
from psycopg2.extras import Json

from sbm.model.ledger_balance import TickBalance, TickToCheck
from sbm.store.postgres.database import Row, Transaction
from sbm.store.postgres.statements import load

QUERIES = load("ledger_balance")

# Before all others, in the order of ids.
FIRST_TICK = 0
FIRST_DOUBLE = 0
FIRST_ID = UUID(int=0)


@frozen(kw_only=True)
class OrphanSend:
    """A live send whose tick is not there."""

    send_id: UUID
    tick_id: int


@frozen(kw_only=True)
class Double:
    """A send that the ledger has as sent more than once, with the outbounds it names."""

    send_id: UUID
    subscription_id: UUID
    times: int
    outbound_ids: tuple[str, ...]


@frozen(kw_only=True)
class Surplus:
    """An outbound that went out beside those that the ledger names for its send, ``named``.

    ``is_settled``: the ledger has the send, in whatever way it ended.
    """

    id: int
    send_id: UUID
    subscription_id: UUID
    outbound_id: str
    noticed_at: datetime
    named: tuple[str, ...]
    is_settled: bool

    @property
    def is_second(self) -> bool:
        """Whether the send was sent more than once; the ledger may be kept no longer."""
        return bool(self.named) or not self.is_settled


async def take(transaction: Transaction, *, rest: timedelta, limit: int) -> list[TickToCheck]:
    """Take up to ``limit`` ticks to check, which nobody has taken for ``rest``."""
    rows = await transaction.rows(QUERIES.take_ticks_to_check, rest=rest, limit=limit)
    return [_tick(row) for row in rows]


async def list_ticks(transaction: Transaction, *, after: int, limit: int) -> list[TickToCheck]:
    """The next ``limit`` ticks after this one, in the order of their ids."""
    rows = await transaction.rows(QUERIES.list_ticks, after=after, limit=limit)
    return [_tick(row) for row in rows]


async def count(transaction: Transaction, *, ids: Iterable[int]) -> list[TickBalance]:
    """Both sides of the law for these ticks, all at the same moment; those that are there."""
    rows = await transaction.rows(QUERIES.count_ticks, ids=list(ids))
    return [
        TickBalance(
            tick_id=row["id"],
            source=row["source"],
            due_at=row["due_at"],
            triggers=row["triggers"],
            settled=row["settled"],
            outcomes=row["outcomes"],
            live=row["live"],
            is_closed=row["is_closed"],
            is_kept=row["is_kept"],
        )
        for row in rows
    ]


async def record(transaction: Transaction, *, found: Iterable[TickBalance]) -> None:
    """Remember what was found; closed ticks are checked off, unless the law is broken for them.

    Of a tick that is not kept any longer, what was found before stays.
    """
    findings = [
        {
            "id": one.tick_id,
            "triggers": one.triggers,
            "missing": one.missing if one.is_kept else None,
            "is_done": one.is_closed and not one.is_broken,
            "outcomes": one.outcomes if one.is_kept and one.source != "single" else None,
        }
        for one in found
    ]
    await transaction.execute(QUERIES.record_findings, findings=Json(findings))


async def count_broken(transaction: Transaction) -> tuple[int, datetime]:
    """For how many ticks the law was found broken, and the database's time."""
    row = await transaction.row(QUERIES.count_broken_ticks)
    assert row is not None
    return row["broken_ticks"], row["now"]


async def list_astray(transaction: Transaction, *, after: UUID, limit: int) -> list[OrphanSend]:
    """The next ``limit`` live sends without a tick, in the order of their ids."""
    rows = await transaction.rows(QUERIES.list_astray, after=after, limit=limit)
    return [OrphanSend(send_id=row["id"], tick_id=row["tick_id"]) for row in rows]


async def list_doubles(
    transaction: Transaction, *, after: UUID, limit: int
) -> tuple[UUID | None, list[Double]]:
    """What was sent twice, by about ``limit`` rows of the ledger, after this subscription.

    Returns the last subscription that was looked at, too, or None at the end.
    """
    end = await transaction.row(QUERIES.find_end_of_page, after=after, limit=limit)
    if end is None:
        return None, []
    rows = await transaction.rows(QUERIES.list_doubles, after=after, last=end["last"])
    return end["last"], [
        Double(
            send_id=row["send_id"],
            subscription_id=row["subscription_id"],
            times=row["times"],
            outbound_ids=tuple(row["outbound_ids"]),
        )
        for row in rows
    ]


async def list_surplus(transaction: Transaction, *, after: int, limit: int) -> list[Surplus]:
    """The next ``limit`` outbounds in the table of doubles, after this row of it."""
    rows = await transaction.rows(QUERIES.list_surplus, after=after, limit=limit)
    return [
        Surplus(
            id=row["id"],
            send_id=row["send_id"],
            subscription_id=row["subscription_id"],
            outbound_id=row["outbound_id"],
            noticed_at=row["noticed_at"],
            named=tuple(row["named"]),
            is_settled=row["rows"] > 0,
        )
        for row in rows
    ]


def _tick(row: Row) -> TickToCheck:
    return TickToCheck(id=row["id"], triggers=row["triggers"], missing=row["missing"])
