"""Give many subscriptions a prepend: a text or a sound before their next message."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from attrs import field, frozen

from sbm.model.content_limits import ContentLimits
from sbm.model.prepend import misfit
from sbm.model.selection import Selection
from sbm.operations.progress import Progress, no_progress
from sbm.operations.refusals import OperationRefused
from sbm.operations.selection import CHUNK, Repair, select
from sbm.store import audit, messagesets, repairs
from sbm.store.postgres.database import Database
from sbm.store.postgres.transaction import Transaction
from sbm.store.repairs import CandidatePlace, PrependCandidate


class NoFittingSet(OperationRefused):
    """The prepend suits none of the message sets that match."""


@frozen(kw_only=True)
class PrependRequest:
    """A prepend, and the subscriptions that get it.

    ``limits`` are those of a message together with the prepend, and of the metadata with it. With
    ``overwrite``, it replaces another prepend that is waiting.
    """

    repair: Repair
    prepend: str
    limits: ContentLimits
    overwrite: bool = False


@frozen(kw_only=True)
class PrependRecipients:
    """The subscriptions that get a prepend, and why other sets do not (``left_out``)."""

    selection: Selection
    messageset_ids: list[int]
    left_out: list[str]


@frozen(kw_only=True)
class PrependCount:
    """How many got the prepend, and how many there were of each verdict.

    ``locked`` counts those that another transaction had locked: they were not looked at.
    """

    given: int
    locked: int
    verdicts: Counter[repairs.CandidateState]


@frozen(kw_only=True)
class _PrependStep:
    """The result for the next subscriptions; no ``place``: there were no more."""

    place: CandidatePlace | None
    rows: int = 0
    found: list[PrependCandidate] = field(factory=list)
    given: list[UUID] = field(factory=list)
    locked: int = 0


async def choose(transaction: Transaction, *, wanted: PrependRequest) -> PrependRecipients:
    """The message sets that the prepend suits; raises NoFit if there is none."""
    selection = await select(transaction, filters=wanted.repair.filters)
    found = [
        one
        for one in await messagesets.list_all(transaction)
        if selection.messageset_id in (None, one.id)
    ]
    objections = {
        one.id: misfit(wanted.prepend, one, limit=wanted.limits.text_length) for one in found
    }
    left_out = [
        f"message set {one.short_name!r} {objections[one.id]}"
        for one in found
        if objections[one.id] is not None
    ]
    if len(left_out) == len(found):
        raise NoFittingSet("\n".join(left_out) or "there is no message set")
    fitting = [one.id for one in found if objections[one.id] is None]
    return PrependRecipients(selection=selection, messageset_ids=fitting, left_out=left_out)


async def add_prepends(
    database: Database,
    *,
    wanted: PrependRequest,
    recipients: PrependRecipients,
    progress: Progress = no_progress,
) -> PrependCount:
    """Give it to active subscriptions, beginning with the newest, a chunk in each transaction."""
    given, locked = 0, 0
    verdicts: Counter[repairs.CandidateState] = Counter()
    total = await database.transact(repairs.count_all)
    place: CandidatePlace | None = CandidatePlace()
    with progress("subscriptions", total) as advance:
        while place is not None and given != wanted.repair.limit:
            step = await database.transact(
                _give_next, wanted=wanted, recipients=recipients, behind=place, given=given
            )
            place = step.place
            given += len(step.given)
            locked += step.locked
            verdicts.update(candidate.verdict for candidate in step.found)
            advance(step.rows)
    return PrependCount(given=given, locked=locked, verdicts=verdicts)


async def _give_next(
    transaction: Transaction,
    *,
    wanted: PrependRequest,
    recipients: PrependRecipients,
    behind: CandidatePlace,
    given: int,
) -> _PrependStep:
    repair = wanted.repair
    reach, rows = await repairs.reach(transaction, behind=behind, limit=CHUNK)
    if reach is None:
        return _PrependStep(place=None)
    ids = await repairs.list_under_way(
        transaction,
        behind=behind,
        reach=reach,
        messageset_ids=recipients.messageset_ids,
        selection=recipients.selection,
    )
    locked = 0
    if ids and not repair.is_dry:
        held = await repairs.hold(transaction, ids=ids)
        locked, ids = len(ids) - len(held), held
    found = await repairs.decide_prepends(
        transaction,
        ids=ids,
        messageset_ids=recipients.messageset_ids,
        prepend=wanted.prepend,
        limits=wanted.limits,
    )
    willing = ("free", "other") if wanted.overwrite else ("free",)
    meant = [one for one in found if one.verdict in willing]
    if repair.limit is not None:
        meant = meant[: repair.limit - given]
    if meant and not repair.is_dry:
        await _give(transaction, wanted=wanted, recipients=recipients, meant=meant)
    return _PrependStep(
        place=reach, rows=rows, found=found, given=[one.id for one in meant], locked=locked
    )


async def _give(
    transaction: Transaction,
    *,
    wanted: PrependRequest,
    recipients: PrependRecipients,
    meant: list[PrependCandidate],
) -> None:
    ids = [one.id for one in meant]
    await repairs.set_prepends(transaction, ids=ids, prepend=wanted.prepend)
    await audit.record(
        transaction,
        actor=wanted.repair.signature.actor,
        action="subscription add-prepend",
        reason=wanted.repair.signature.reason,
        details=recipients.selection.told()
        | {
            "prepend": wanted.prepend,
            "count": len(ids),
            "subscriptions": list(map(str, ids)),
            "replaced": {str(one.id): one.waiting for one in meant if one.waiting},
        },
    )
