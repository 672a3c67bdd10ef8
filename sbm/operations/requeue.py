"""Owe sends that were refused or failed again, and record in the audit who wanted it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from sbm.model.failed_task import EVERYTHING, FailedTaskFilter, Requeued
from sbm.model.send import Trigger
from sbm.model.signature import Signature
from sbm.store import audit, failed_tasks, tasks
from sbm.store.postgres.transaction import Transaction

# So many are owed again at once; a task does the rest of a longer list.
AT_ONCE = 200


@frozen(kw_only=True)
class RequeueCount:
    """The result for single failed tasks; ``missing`` are the ids that do not exist."""

    taken: int
    owed: int
    missing: list[int]


@frozen(kw_only=True)
class RequeueForecast:
    """How many failed tasks would be owed again, and how many skipped, by reason."""

    owed: int
    skipped: Mapping[str, int]


async def requeue_one(
    transaction: Transaction, *, failed_task_id: int, signature: Signature
) -> Trigger:
    """Owe this one again; if it is skipped instead, the reason is that of the ledger."""
    trigger = await _owe(transaction, failed_task_id)
    if trigger.found:
        await _record(transaction, signature, taken=1, owed=int(trigger.accepted))
    return trigger


async def foresee(
    transaction: Transaction,
    *,
    wanted: FailedTaskFilter = EVERYTHING,
    failed_task_id: int | None = None,
) -> RequeueForecast:
    """What a requeue of those that match, or of this one, would do now. Nothing is changed."""
    judged = await failed_tasks.judge(transaction, wanted=wanted, failed_task_id=failed_task_id)
    return RequeueForecast(
        owed=sum(count for reason, count in judged if reason is None),
        skipped={reason: count for reason, count in judged if reason is not None},
    )


async def _owe(transaction: Transaction, failed_task_id: int) -> Trigger:
    await failed_tasks.hold(transaction, failed_task_id=failed_task_id)
    done = await failed_tasks.requeue(
        transaction, after=failed_task_id - 1, up_to=failed_task_id, limit=1, alone=True
    )
    return Trigger(found=done.taken > 0, accepted=done.owed > 0, reason=done.reason)


async def requeue_these(
    transaction: Transaction, *, ids: Sequence[int], signature: Signature, is_dry: bool = False
) -> RequeueCount:
    """Owe these again, all in this transaction; ``is_dry``: only count those that exist."""
    taken, owed, missing = 0, 0, []
    for failed_task_id in ids:
        if is_dry:
            found = await failed_tasks.find(transaction, failed_task_id=failed_task_id) is not None
        else:
            trigger = await _owe(transaction, failed_task_id)
            found = trigger.found
            owed += trigger.accepted
        if found:
            taken += 1
        else:
            missing.append(failed_task_id)
    if taken and not is_dry:
        await _record(transaction, signature, taken=taken, owed=owed)
    return RequeueCount(taken=taken, owed=owed, missing=missing)


async def requeue_all(
    transaction: Transaction,
    *,
    wanted: FailedTaskFilter,
    signature: Signature,
    requested_by: int | None = None,
) -> Requeued:
    """Owe all that match now again: the oldest ones at once, and the rest by a task.

    The audit has the number of those that were taken at once.
    """
    up_to = await failed_tasks.newest(transaction)
    if up_to is None:
        return Requeued()
    done = await failed_tasks.requeue(transaction, up_to=up_to, limit=AT_ONCE, wanted=wanted)
    goes_on = done.seen >= AT_ONCE or done.locked > 0
    if done.taken or goes_on:
        await _record(transaction, signature, taken=done.taken, owed=done.owed)
    if not goes_on:
        return done
    await tasks.request(
        transaction,
        kind="requeue-failed-tasks",
        requested_by=requested_by,
        up_to=up_to,
        wanted=wanted,
    )
    return evolve(done, goes_on=True)


async def _record(transaction: Transaction, signature: Signature, *, taken: int, owed: int) -> None:
    await audit.record(
        transaction,
        actor=signature.actor,
        action="requeue",
        reason=signature.reason,
        details={"requeued": taken, "owed": owed},
    )
