"""Owe sends that were refused or failed again."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

from sbm.model.failed_task import FailedTaskFilter, Requeued
from sbm.model.send import Trigger
from sbm.store import failed_tasks, tasks
from sbm.store.postgres.transaction import Transaction

# So many are owed again at once; a task does the rest of a longer list.
AT_ONCE = 200


@frozen(kw_only=True)
class RequeueCount:
    """The result for single failed tasks; ``missing`` are the ids that do not exist."""

    taken: int
    owed: int
    missing: list[int]


async def requeue_one(transaction: Transaction, *, failed_task_id: int) -> Trigger:
    """Owe this one again; if it is skipped instead, the reason is that of the ledger."""
    await failed_tasks.hold(transaction, failed_task_id=failed_task_id)
    done = await failed_tasks.requeue(
        transaction, after=failed_task_id - 1, up_to=failed_task_id, limit=1, alone=True
    )
    return Trigger(found=done.taken > 0, accepted=done.owed > 0, reason=done.reason)


async def requeue_these(
    transaction: Transaction, *, ids: Sequence[int], is_dry: bool = False
) -> RequeueCount:
    """Owe these again, all in this transaction; ``is_dry``: only count those that exist."""
    taken, owed, missing = 0, 0, []
    for failed_task_id in ids:
        if is_dry:
            found = await failed_tasks.find(transaction, failed_task_id=failed_task_id) is not None
        else:
            trigger = await requeue_one(transaction, failed_task_id=failed_task_id)
            found = trigger.found
            owed += trigger.accepted
        if found:
            taken += 1
        else:
            missing.append(failed_task_id)
    return RequeueCount(taken=taken, owed=owed, missing=missing)


async def requeue_all(
    transaction: Transaction, *, wanted: FailedTaskFilter, requested_by: int | None
) -> Requeued:
    """Owe all that match now again: the oldest ones at once, and the rest by a task."""
    up_to = await failed_tasks.newest(transaction)
    if up_to is None:
        return Requeued()
    done = await failed_tasks.requeue(transaction, up_to=up_to, limit=AT_ONCE, wanted=wanted)
    if done.seen < AT_ONCE and not done.locked:
        return done
    await tasks.request(
        transaction,
        kind="requeue-failed-tasks",
        requested_by=requested_by,
        up_to=up_to,
        wanted=wanted,
    )
    return evolve(done, goes_on=True)
