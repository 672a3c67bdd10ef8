"""Rows that cannot be read: how they are found, and how they are ended.

These functions are called after a batch has failed. They read only ids and numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

from attrs import asdict, frozen

from sbm.model.cron import RULE_VERSION
from sbm.model.send import Settled, UnreadableSend
from sbm.store import sends
from sbm.store.postgres.errors import one_line
from sbm.store.postgres.statements import load
from sbm.store.postgres.storable import storable
from sbm.store.postgres.transaction import Transaction
from sbm.store.sends import SettledBatch

QUERIES = load("unreadable")

# The most characters of an error: a driver may quote the value that it could not read.
_LONGEST_REASON = 300


def reason(error: Exception) -> str:
    """Why a row could not be read, as it is stored."""
    told = storable(f"it cannot be read: {type(error).__name__}: {one_line(error)}")
    return told[:_LONGEST_REASON]


async def list_due_sends(
    transaction: Transaction, *, owner: UUID, limit: int, of_ticks: int, but: Iterable[str]
) -> list[UUID]:
    """The ids of the sends that a claim with these limits would claim."""
    return await transaction.many(
        QUERIES.list_due_sends, UUID, owner=owner, limit=limit, of_ticks=of_ticks, but=list(but)
    )


async def fail_due_send(transaction: Transaction, *, send_id: UUID, reason: str) -> bool:
    """End a send as failed; False: it is no longer owed."""
    return bool(await transaction.execute(QUERIES.fail_due_send, id=send_id, reason=reason))


async def list_unknown_sends(transaction: Transaction, *, limit: int) -> list[UnreadableSend]:
    """The sends of unknown outcome that are to be asked about now."""
    return await transaction.many(QUERIES.list_unknown_sends, UnreadableSend, limit=limit)


async def settle(
    transaction: Transaction, *, results: Sequence[tuple[UnreadableSend, Settled]]
) -> SettledBatch:
    """Settle sends of unknown outcome that cannot be read; see ``sends.settle``."""
    for send, _ in results:
        await transaction.execute(QUERIES.mend_send, id=send.id)
    return await sends.settle(transaction, results=results)


@frozen(kw_only=True)
class NextMember:
    """The member of an open tick that comes next."""

    tick_id: int
    subscription_id: UUID


async def find_next_member(transaction: Transaction, *, after: int) -> NextMember | None:
    """The first member of the chunk that ``ticks.expand`` would expand; None if there is none."""
    return await transaction.maybe(QUERIES.find_next_member, NextMember, after=after)


async def hold_tick(transaction: Transaction, *, member: NextMember) -> bool:
    """Lock the tick of this member; False if the tick has gone on meanwhile."""
    return await transaction.maybe(QUERIES.hold_tick, int, **asdict(member)) is not None


async def fail_member(transaction: Transaction, *, member: NextMember, reason: str) -> None:
    """End the trigger for a member of a tick as failed, and let the tick go on."""
    await transaction.execute(QUERIES.fail_member, **asdict(member), reason=reason)


async def list_due_scheduler_calls(transaction: Transaction, *, limit: int) -> list[int]:
    """The ids of the calls that a claim would claim."""
    return await transaction.many(QUERIES.list_due_scheduler_calls, int, limit=limit)


async def refuse_due_scheduler_call(transaction: Transaction, *, call_id: int, reason: str) -> None:
    """Let a call wait until something changes."""
    await transaction.execute(QUERIES.refuse_due_scheduler_call, id=call_id, reason=reason)


async def list_tasks_to_begin(transaction: Transaction, *, kinds: Iterable[str]) -> list[UUID]:
    """The tasks of these kinds that no daemon does."""
    return await transaction.many(QUERIES.list_tasks_to_begin, UUID, kinds=list(kinds))


async def fail_task(transaction: Transaction, *, task_id: UUID, reason: str) -> None:
    """End a task as failed that no daemon does."""
    await transaction.execute(QUERIES.fail_task, id=task_id, reason=reason)


async def list_stale_schedules(
    transaction: Transaction, *, default_time_zone: ZoneInfo, limit: int
) -> list[int]:
    """The schedules for which the built-in clock has work."""
    return await transaction.many(
        QUERIES.list_stale_schedules,
        int,
        version=RULE_VERSION,
        default_time_zone=default_time_zone.key,
        limit=limit,
    )
