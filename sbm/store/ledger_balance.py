"""The ledger balance: both sides are counted, and the result is kept with the tick."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from attrs import field, frozen
from psycopg2.extras import Json

from sbm.model.ledger_balance import TickBalance, TickToCheck
from sbm.store.postgres.database import Transaction
from sbm.store.postgres.statements import load

QUERIES = load("ledger_balance")

# Before all others, in the order of ids.
FIRST_TICK = 0
FIRST_DOUBLE = 0


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
    outbound_ids: tuple[str, ...] = field(converter=tuple)


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
    named: tuple[str, ...] = field(converter=tuple)
    is_settled: bool

    @property
    def is_second(self) -> bool:
        """Whether the send was sent more than once; the ledger may be kept no longer."""
        return bool(self.named) or not self.is_settled


async def take(transaction: Transaction, *, rest: timedelta, limit: int) -> list[TickToCheck]:
    """Take up to ``limit`` ticks to check, which nobody has taken for ``rest``."""
    return await transaction.many(QUERIES.take_ticks_to_check, TickToCheck, rest=rest, limit=limit)


async def list_ticks(transaction: Transaction, *, after: int, limit: int) -> list[TickToCheck]:
    """The next ``limit`` ticks after this one, in the order of their ids."""
    return await transaction.many(QUERIES.list_ticks, TickToCheck, after=after, limit=limit)


async def count(transaction: Transaction, *, ids: Iterable[int]) -> list[TickBalance]:
    """Both sides of the balance of these ticks, all at the same moment; those that are there."""
    return await transaction.many(QUERIES.count_ticks, TickBalance, ids=list(ids))


async def record(transaction: Transaction, *, found: Iterable[TickBalance]) -> None:
    """Remember what was found; closed ticks are checked off, unless they are unbalanced.

    Of a tick that is not kept any longer, what was found before stays.
    """
    findings = [
        {
            "id": one.tick_id,
            "triggers": one.triggers,
            "missing": one.missing if one.is_kept else None,
            "is_done": one.is_closed and not one.is_unbalanced,
            "outcomes": one.outcomes if one.is_kept and one.source != "single" else None,
        }
        for one in found
    ]
    await transaction.execute(QUERIES.record_findings, findings=Json(findings))


async def count_unbalanced(transaction: Transaction) -> tuple[int, datetime]:
    """How many ticks were found unbalanced, and the database's time."""
    return await transaction.one(QUERIES.count_unbalanced_ticks, _unbalanced)


async def list_orphans(transaction: Transaction, *, after: UUID, limit: int) -> list[OrphanSend]:
    """The next ``limit`` live sends without a tick, in the order of their ids."""
    return await transaction.many(QUERIES.list_orphans, OrphanSend, after=after, limit=limit)


async def list_doubles(
    transaction: Transaction, *, after: UUID, limit: int
) -> tuple[UUID | None, list[Double]]:
    """What was sent twice, by about ``limit`` rows of the ledger, after this subscription.

    Returns the last subscription that was looked at, too, or None at the end.
    """
    last = await transaction.maybe(QUERIES.find_end_of_page, UUID, after=after, limit=limit)
    if last is None:
        return None, []
    return last, await transaction.many(QUERIES.list_doubles, Double, after=after, last=last)


async def list_surplus(transaction: Transaction, *, after: int, limit: int) -> list[Surplus]:
    """The next ``limit`` outbounds in the table of doubles, after this row of it."""
    return await transaction.many(QUERIES.list_surplus, Surplus, after=after, limit=limit)


def _unbalanced(*, unbalanced_ticks: int, now: datetime) -> tuple[int, datetime]:
    return unbalanced_ticks, now
