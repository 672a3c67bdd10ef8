"""The ledger balance: both sides are counted, and the finding is stored with the tick."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from attrs import field, frozen
from psycopg2.extras import Json

from sbm.model.ledger_balance import TickBalance, TickToCheck
from sbm.store.postgres.statements import load
from sbm.store.postgres.transaction import Transaction

QUERIES = load("ledger_balance")

# Smaller than every other id.
FIRST_TICK = 0
FIRST_DOUBLE = 0


@frozen(kw_only=True)
class OrphanSend:
    """A live send whose tick does not exist."""

    send_id: UUID
    tick_id: int


@frozen(kw_only=True)
class Double:
    """A send for which the ledger has more than one row as sent, with their outbounds."""

    send_id: UUID
    subscription_id: UUID
    times: int
    outbound_ids: tuple[str, ...] = field(converter=tuple)


@frozen(kw_only=True)
class Surplus:
    """An outbound of a send besides those that the ledger names, ``named``.

    ``is_settled``: the ledger has the send, with any outcome.
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
        """Whether the send was sent more than once; its part of the ledger may be gone."""
        return bool(self.named) or not self.is_settled


async def take(transaction: Transaction, *, rest: timedelta, limit: int) -> list[TickToCheck]:
    """Take up to ``limit`` ticks to check that no daemon has taken for ``rest``."""
    return await transaction.many(QUERIES.take_ticks_to_check, TickToCheck, rest=rest, limit=limit)


async def list_ticks(transaction: Transaction, *, after: int, limit: int) -> list[TickToCheck]:
    """The next ``limit`` ticks after this one, in the order of their ids."""
    return await transaction.many(QUERIES.list_ticks, TickToCheck, after=after, limit=limit)


async def count(transaction: Transaction, *, ids: Iterable[int]) -> list[TickBalance]:
    """Both sides of the balance of these ticks, as far as they exist, at the same moment."""
    return await transaction.many(QUERIES.count_ticks, TickBalance, ids=list(ids))


async def record(transaction: Transaction, *, found: Iterable[TickBalance]) -> None:
    """Store the findings; closed ticks are marked as checked, unless they are unbalanced.

    If the ledger of a tick is not kept any longer, its last finding stays.
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
    """Sends that were sent twice, by about ``limit`` rows of the ledger, after this subscription.

    Also returns the last subscription that was looked at, or None at the end.
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
